"""Large files from the client: in parts, resumed after any failure, packed, and parsed by a job."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal

import numpy as np
import pytest

from chainrule.cli.app import run
from chainrule.client import client as client_module
from chainrule.client import uploading
from chainrule.errors import ApiError, UnreachableError
from tests.client.test_client_service import api_of

PART = 8 * 2**20
ROWS = 2 * PART // 40 + 9999


@pytest.fixture
def in_parts(monkeypatch):
    """Send everything in parts, and count those that are sent."""
    monkeypatch.setattr(client_module, "PARTS_FROM_BYTES", 1)
    sent = []
    real = uploading._patiently

    def counting(transport, path, data, packed):
        real(transport, path, data, packed)
        sent.append(int(path.rpartition("/")[2]))

    monkeypatch.setattr(uploading, "_patiently", counting)
    return sent


@pytest.fixture
def large(tmp_path):
    """A table of three parts that nobody has uploaded before."""
    path = tmp_path / "large.csv"
    draw = np.random.default_rng([*map(ord, str(path))])
    digits = draw.integers(0, 10**9, (ROWS, 4))
    with path.open("w") as file:
        file.write("a,b,c,d\n")
        np.savetxt(file, digits, "%09d", ",")
    assert 2 * PART < path.stat().st_size < 3 * PART
    return path


def test_a_large_file_goes_in_parts_and_only_once(client, large, in_parts):
    told: list = []
    tell = lambda *said: told.append(said)  # noqa: E731
    dataset = client.upload(large, on_progress=tell)
    assert in_parts == [1, 2, 3]
    assert [share for what, share in told if what == "upload"][-1] == 1
    assert dataset.view["sha256"] == hashlib.sha256(large.read_bytes()).hexdigest()
    assert dataset.preview(1)["rows"][0].keys() == {"a", "b", "c", "d"}
    in_parts.clear()
    assert client.upload(large).id == dataset.id
    assert in_parts == []


def test_an_upload_goes_on_where_it_was_cut_off(client, large, in_parts, monkeypatch):
    monkeypatch.setattr(uploading, "PATIENCE_S", 0)
    real = client._transport.request

    def cut(method, path, **options):
        if method == "PUT" and path.endswith("/parts/3"):
            raise UnreachableError("the cable")
        return real(method, path, **options)

    monkeypatch.setattr(client._transport, "request", cut)
    with pytest.raises(UnreachableError, match="the cable"):
        client.upload(large)
    monkeypatch.setattr(client._transport, "request", real)
    assert in_parts == [1, 2]
    assert client.upload(large).rows == ROWS
    assert in_parts == [1, 2, 3]


def test_an_upload_outlives_the_crash_of_the_api(stack, client, large, in_parts):
    killed = []

    def kill_once(what, share):
        if not killed:
            killed.append(api_of(stack))
            os.kill(killed[0], signal.SIGKILL)

    dataset = client.upload(large, on_progress=kill_once)
    assert dataset.view["state"] == "ready"
    assert in_parts == [1, 2, 3]
    assert api_of(stack) not in killed


@pytest.mark.parametrize("parts", [False, True])
def test_a_packed_file_is_sent_as_it_is(client, table, tmp_path, parts, request):
    data = table.read_bytes() + f"{os.getpid()},{int(parts)},blue,1\n".encode()
    packed = tmp_path / "clouds.csv.gz"
    packed.write_bytes(gzip.compress(data))
    if parts:
        request.getfixturevalue("in_parts")
    dataset = client.upload(packed, types={"height": "categorical"})
    assert dataset.view["sha256"] == hashlib.sha256(data).hexdigest()
    assert dataset.view["types"] == {"height": "categorical"}
    assert (dataset.rows, dataset.view["name"]) == (201, "clouds.csv.gz")


def test_a_file_that_cannot_be_read_is_told_where(client, tmp_path, in_parts):
    path = tmp_path / "bad.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ApiError) as error:
        client.upload(path)
    assert error.value.status == 422
    assert "line 3" in str(error.value)


def test_the_files_of_mnist_are_packed_and_trained_on(configured, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 3
    images[np.arange(60), 0, labels] = 255
    heads = [bytes([0, 0, 8, 3, *(0, 0, 0, 60), *(0, 0, 0, 4), *(0, 0, 0, 4)]),
             bytes([0, 0, 8, 1, *(0, 0, 0, 60)])]  # fmt: skip
    files = [tmp_path / "t10k-images-idx3-ubyte.gz", tmp_path / "t10k-labels-idx1-ubyte"]
    files[0].write_bytes(gzip.compress(heads[0] + images.tobytes()))
    files[1].write_bytes(heads[1] + labels.tobytes())
    npz = str(tmp_path / "mnist.npz")
    assert run(["pack", "arrays", *map(str, files), "-o", npz]) == 0
    capsys.readouterr()
    layers = ["--layers", "flatten, 8 relu", "--epochs", "2"]
    assert run(["train", npz, *layers, "--json"]) == 0
    job = json.loads(capsys.readouterr()[0])
    assert (job["state"], job["config"]["data"]["task"]) == ("succeeded", "classification")
    assert job["config"]["architecture"]["layers"][-1]["units"] == 3
