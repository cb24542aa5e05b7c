"""``/v1/uploads``: parts that stay, in any order, from any process, and become one dataset."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from typing import get_args

import pytest
from sqlalchemy import func, select, update

from service.actions import uploads
from service.actions.requests import UploadRequest
from service.api.uploads import FORMATS
from service.app import create_app
from service.errors import CorruptError
from service.store import blobs, transitions
from service.store.tables import Blob, BlobChunk, Chunk, Dataset, Upload, UploadPart
from tests.api_testing import NotingBell, flowers

PART = 2**20


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(uploads, "PART_BYTES", PART)


@pytest.fixture(scope="module")
def table():
    """A table of two and a half parts."""
    data = flowers(120_000)
    return data[: data.index(b"\n", 5 * PART // 2) + 1]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def named(data):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def begin(api, data, **changes):
    request = {"name": "big", "format": "csv", "bytes": len(data), "sha256": digest(data)}
    return api.post("/v1/uploads", json={**request, **changes})


def put(api, view, number, data, **headers):
    path = f"{view['links']['self']}/parts/{number}"
    kind = "application/octet-stream"
    return api.call("PUT", path, data=data, content_type=kind, headers=headers)


def send(api, view, data):
    for number in range(1, -(-len(data) // view["part_bytes"]) + 1):
        part = data[(number - 1) * PART : number * PART]
        assert put(api, view, number, part).status_code == 201


def test_parts_in_any_order_are_the_file(api, table):
    answer = begin(api, table)
    view = answer.json
    assert (answer.status_code, view["part_bytes"], view["parts"]) == (201, PART, [])
    assert answer.headers["Location"] == view["links"]["self"]
    for number in (3, 1, 2):
        part = table[(number - 1) * PART : number * PART]
        answer = put(api, view, number, part, Content_Digest=named(part))
        assert answer.status_code == 201
        assert answer.json == {"number": number, "bytes": len(part), "sha256": digest(part)}
    found = api.get(view["links"]["self"]).json
    assert [part["number"] for part in found["parts"]] == [1, 2, 3]
    made = api.post(view["links"]["complete"])
    assert made.status_code == 201, made.text
    dataset = made.json
    assert (dataset["state"], dataset["name"]) == ("ready", "big")
    assert (dataset["sha256"], dataset["bytes"]) == (digest(table), len(table))
    assert dataset["rows"] == table.count(b"\n") - 1
    assert api.get(dataset["links"]["content"]).data == table
    assert api.upload(table).json["id"] == dataset["id"]
    again = api.post(view["links"]["complete"])
    assert (again.status_code, again.json["id"]) == (200, dataset["id"])
    assert api.get(view["links"]["self"]).json["dataset_id"] == dataset["id"]
    assert api.row_counts()["upload_parts"] == 0


def test_the_chunks_of_the_parts_are_those_of_the_file(api, table):
    view = begin(api, table).json
    send(api, view, table)
    with api.database.read() as session:
        before = session.scalar(select(func.count()).select_from(Chunk))
    api.post(view["links"]["complete"])
    with api.database.read() as session:
        blob = session.scalar(select(Dataset.blob))
        own = session.scalar(select(func.count()).where(BlobChunk.blob == blob))
        prepared = session.scalar(select(Blob.bytes).join(Dataset, Dataset.prepared == Blob.sha256))
        after = session.scalar(select(func.count()).select_from(Chunk))
    assert (before, own, after) == (3, 3, 3 + -(-prepared // blobs.CHUNK_BYTES))
    blobs.collect(api.database)
    dataset = api.get("/v1/datasets").json["items"][0]
    assert api.get(dataset["links"]["content"]).data == table


def test_a_part_again_changes_nothing_and_other_bytes_are_a_conflict(api, table):
    view = begin(api, table).json
    first = table[:PART]
    assert put(api, view, 1, first).status_code == 201
    counts = api.row_counts()
    again = put(api, view, 1, first)
    assert (again.status_code, again.json["sha256"]) == (200, digest(first))
    other = put(api, view, 1, first[::-1])
    assert other.status_code == 409
    assert "is there with other bytes" in other.json["detail"]
    assert api.row_counts() | {"chunks": 0} == counts | {"chunks": 0}


@pytest.mark.parametrize(
    ("number", "size", "says"),
    [
        (0, PART, "there are parts 1 to 3, got 0"),
        (4, PART, "there are parts 1 to 3, got 4"),
        (1, PART - 1, "part 1 has 1,048,576 bytes, got 1,048,575"),
        (3, PART, "part 3 has 524,"),
    ],
)
def test_a_part_has_its_number_and_size(api, table, number, size, says):
    view = begin(api, table).json
    answer = put(api, view, number, b"1" * size)
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/part")
    assert says in answer.json["detail"]


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
def test_a_part_that_came_damaged_is_refused(api, table, header):
    view = begin(api, table).json
    answer = put(api, view, 1, table[:PART], **{header: named(b"another")})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/part")
    assert api.get(view["links"]["self"]).json["parts"] == []


def test_a_part_may_come_packed(api, table):
    view = begin(api, table).json
    packed = gzip.compress(table[:PART])
    answer = put(api, view, 1, packed, Content_Encoding="gzip", Content_Digest=named(packed))
    assert (answer.status_code, answer.json["sha256"]) == (201, digest(table[:PART]))


def test_a_file_that_is_not_whole_cannot_be_completed(api, table):
    view = begin(api, table).json
    put(api, view, 2, table[PART : 2 * PART])
    answer = api.post(view["links"]["complete"])
    assert answer.status_code == 409
    assert "lacks 2 of 3 parts: 1, 3" in answer.json["detail"]


def test_another_file_than_was_told_of_is_refused(api, table):
    view = begin(api, table, sha256="0" * 64).json
    send(api, view, table)
    answer = api.post(view["links"]["complete"])
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/sha256")
    assert api.row_counts()["datasets"] == 0


def test_a_file_that_cannot_be_read_is_told_where(api):
    data = b"a,b\n1,2\n3\n"
    view = begin(api, data).json
    send(api, view, data)
    answer = api.post(view["links"]["complete"])
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/file")
    assert len(api.get(view["links"]["self"]).json["parts"]) == 1


def test_an_upload_is_gone_on_with_by_whoever_has_the_same_bytes(api, table, parser):
    first = begin(api, table).json
    put(api, first, 1, table[:PART])
    other = create_app(api.settings, api.database, NotingBell(), parser).test_client()
    headers = {"Authorization": f"Bearer {api.key}"}
    request = {"name": "big", "format": "csv", "bytes": len(table), "sha256": digest(table)}
    again = other.post("/v1/uploads", json=request, headers=headers)
    assert (again.status_code, again.json["id"]) == (200, first["id"])
    assert [part["number"] for part in again.json["parts"]] == [1]
    for changes in ({"types": {"colour": "text"}}, {"format": "json"}, {"sha256": None}):
        assert begin(api, table, **changes).json["id"] != first["id"]


def test_bytes_that_are_a_dataset_already_need_not_be_sent(api, table):
    dataset = api.upload(table).json
    view = begin(api, table).json
    assert view["dataset_id"] == dataset["id"]
    made = api.post(view["links"]["complete"])
    assert (made.status_code, made.json["id"]) == (200, dataset["id"])
    late = put(api, view, 1, table[:PART])
    assert (late.status_code, late.json["detail"]) == (409, f"{view['id']} is complete")
    assert api.call("DELETE", dataset["links"]["self"]).status_code == 204
    assert api.get(view["links"]["self"]).status_code == 404


def test_a_file_over_the_limit_is_refused_before_it_is_sent(api):
    answer = begin(api, b"", bytes=api.settings.max_upload_bytes + 1)
    assert (answer.status_code, "at most 3,145,728 bytes" in answer.json["detail"]) == (413, True)
    assert api.row_counts()["uploads"] == 0


def test_whatever_may_come_at_once_may_come_in_parts():
    known = UploadRequest.model_fields["format"].annotation
    assert set(FORMATS.values()) == set(get_args(known))


def test_a_part_of_another_kind_is_refused(api, table):
    view = begin(api, table).json
    path = f"{view['links']['self']}/parts/1"
    assert api.call("PUT", path, data=b"x", content_type="text/csv").status_code == 415


def test_what_nobody_goes_on_with_is_removed_and_its_bytes_too(api, table):
    view, kept = begin(api, table).json, begin(api, table, sha256=None).json
    send(api, view, table)
    past = time.time() - uploads.KEPT_S - 1
    old = update(Upload).where(Upload.id == view["id"]).values(used_at=past)
    api.database.transact(lambda uow: uow.session.execute(old))
    assert uploads.purge(api.database) == 1
    assert api.get(view["links"]["self"]).status_code == 404
    assert api.get(kept["links"]["self"]).status_code == 200
    assert api.row_counts()["upload_parts"] == 0
    blobs.collect(api.database, older_than_s=-1)
    assert (api.row_counts()["blobs"], api.row_counts()["chunks"]) == (0, 0)


def test_parts_are_not_collected_while_they_wait(api, table):
    view = begin(api, table).json
    send(api, view, table)
    assert blobs.collect(api.database, older_than_s=-1) == 0
    assert api.post(view["links"]["complete"]).status_code == 201


def test_a_damaged_part_is_never_made_a_dataset(api, table):
    view = begin(api, table).json
    send(api, view, table)
    damage = update(Chunk).values(data=b"x" * PART)
    api.database.transact(lambda uow: uow.session.execute(damage))
    assert api.post(view["links"]["complete"]).status_code == 500
    assert api.row_counts()["datasets"] == 0
    with pytest.raises(CorruptError), api.database.read() as session:
        blobs.read(session, session.scalar(select(UploadPart.blob).limit(1)))


def test_a_lost_answer_to_a_commit_changes_nothing(api, table, lose_the_answer):
    lost = lose_the_answer()
    answer = begin(api, table, sha256=None)
    assert (lost, answer.status_code, api.row_counts()["uploads"]) == ([True], 201, 1)
    send(api, answer.json, table)
    lost.clear()
    lose_the_answer()
    staged = blobs.StagedBlob(digest(table[:PART]), PART, ())
    same = api.database.transact(
        lambda uow: transitions.store_part(uow.session, answer.json["id"], "default", 1, staged)
    )
    assert (lost, same) == ([True], False)


def test_a_large_file_in_parts_is_parsed_by_a_job(api, table, parser):
    from dataclasses import replace

    settings = replace(api.settings, parse_inline_bytes=PART)
    bell = NotingBell()
    api.client = create_app(settings, api.database, bell, parser).test_client()
    view = begin(api, table).json
    send(api, view, table)
    made = api.post(view["links"]["complete"])
    assert made.status_code == 202, made.text
    assert made.json["state"] == "parsing"
    assert bell.rung == [made.json["job_id"]]
    assert api.get(made.json["links"]["content"]).data == table
