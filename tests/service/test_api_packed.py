"""Bodies packed by gzip: read as if they had come unpacked, and never beyond what was agreed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import time
import tracemalloc
import zlib

import pytest

from service.api.gunzip import gunzip
from service.errors import TooLargeError
from tests.api_testing import MAX_UPLOAD_BYTES, flowers

# gzip writes the time into the file: without it, the tests' names are the same in every process.
PACKED = gzip.compress(flowers(), mtime=0)


def send(api, data, **headers):
    headers = {"Content-Encoding": "gzip", **headers}
    return api.post("/v1/datasets", data=data, content_type="text/csv", headers=headers)


def test_a_packed_file_is_the_same_dataset(api):
    answer = send(api, gzip.compress(flowers()))
    assert answer.status_code == 201, answer.text
    assert answer.json["bytes"] == len(flowers())
    assert answer.json["sha256"] == hashlib.sha256(flowers()).hexdigest()
    assert api.get(answer.json["links"]["content"]).data == flowers()
    assert api.upload().json["id"] == answer.json["id"]


def test_several_members_are_one_file(api):
    data = flowers()
    parts = [data[:100], b"", data[100:]]
    assert send(api, b"".join(map(gzip.compress, parts))).json["bytes"] == len(data)


def test_the_digest_and_the_name_are_of_what_came(api):
    digest = base64.b64encode(hashlib.sha256(PACKED).digest()).decode()
    named = {"Content-Digest": f"sha-256=:{digest}:", "Idempotency-Key": "once"}
    assert send(api, PACKED, **named).status_code == 201
    assert send(api, PACKED, **named).headers["Idempotent-Replayed"] == "true"
    wrong = {"Content-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}
    assert send(api, PACKED, **wrong).status_code == 400


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is cut short"),
        (b"a,b\n1,2\n", "does not unpack"),
        (PACKED[:-9], "is cut short"),
        (PACKED[:-8] + bytes(8), "incorrect data check"),
        (PACKED + b"more", "does not unpack"),
        (zlib.compress(flowers()), "does not unpack"),
    ],
)
def test_what_is_no_gzip_or_damaged_is_told(api, data, says):
    answer = send(api, data)
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/file")
    assert says in answer.json["detail"]


def test_a_bomb_ends_early_and_takes_no_memory(api, tmp_path):
    bomb = gzip.compress(bytes(200 << 20), 9)
    answer = send(api, bomb)
    assert answer.status_code == 413
    assert f"more than {MAX_UPLOAD_BYTES:,} bytes" in answer.json["detail"]
    assert list((api.settings.data_dir / "uploads").iterdir()) == []
    packed, into = tmp_path / "bomb", io.BytesIO()
    packed.write_bytes(bomb)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(TooLargeError, match="more than 100 times its size"):
        gunzip(packed, into, 1 << 40)
    assert time.process_time() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert into.tell() <= max(16 << 20, 100 * len(bomb))


def test_zeros_below_the_limit_may_pack_well(tmp_path):
    packed, into = tmp_path / "zeros", io.BytesIO()
    packed.write_bytes(gzip.compress(bytes(16 << 20)))
    assert gunzip(packed, into, 16 << 20) == hashlib.sha256(bytes(16 << 20)).hexdigest()


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_are_refused(api, encoding):
    assert send(api, b"x", **{"Content-Encoding": encoding}).status_code == 415
    packed = {"Content-Encoding": "gzip"}
    assert api.post("/v1/jobs", json={}, headers=packed).status_code == 415
