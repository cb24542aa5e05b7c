"""``/v1/datasets`` and ``/v1/architectures``."""

from __future__ import annotations

import io
import json

import numpy as np

from tests.api_testing import flowers, network


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_an_upload_is_described_by_its_columns(api):
    answer = api.upload(name="flowers")
    assert answer.status_code == 201, answer.text
    view = answer.json
    assert answer.headers["Location"] == f"/v1/datasets/{view['id']}" == view["links"]["self"]
    assert view["name"] == "flowers"
    assert (view["state"], view["format"], view["rows"]) == ("ready", "csv", 60)
    assert view["bytes"] == len(flowers())
    assert "arrays" not in view
    columns = {column["name"]: column for column in view["columns"]}
    assert list(columns) == ["length", "width", "colour", "height", "species"]
    assert columns["species"]["type"] == "categorical"
    assert columns["species"]["unique"] == 3
    assert "categories" not in columns["species"]
    assert columns["length"]["type"] == "number"
    assert columns["length"]["min"] < columns["length"]["mean"] < columns["length"]["max"]
    assert view["created_at"].endswith("Z")
    assert api.get(view["links"]["self"]).json == view


def test_the_same_bytes_again_are_the_same_dataset(api):
    first, second = api.upload(), api.upload(name="again")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json == second.json
    assert api.row_counts()["datasets"] == 1


def test_arrays_come_as_npz_and_as_json(api):
    x, y = np.ones((20, 4), np.float32), np.arange(20) % 2
    packed = api.upload(npz(inputs=x, targets=y), "application/x-npz")
    written = api.upload(
        json.dumps({"inputs": x.tolist(), "targets": y.tolist()}).encode(), "application/json"
    )
    for answer in (packed, written):
        assert answer.status_code == 201, answer.text
        assert "columns" not in answer.json
        shapes = {array["name"]: array["shape"] for array in answer.json["arrays"]}
        assert shapes == {"inputs": [20, 4], "targets": [20]}


def test_an_array_comes_as_npy_and_as_idx(api):
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    file = io.BytesIO()
    np.save(file, x)
    idx = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + x.tobytes()
    for kind, data in {"npy": file.getvalue(), "idx": idx}.items():
        answer = api.upload(data, f"application/x-{kind}")
        assert answer.status_code == 201, answer.text
        assert answer.json["format"] == kind
        assert answer.json["arrays"] == [{"name": "inputs", "shape": [2, 3, 4], "dtype": "uint8"}]
        whole = api.get(answer.json["links"]["content"])
        assert (whole.data, whole.mimetype) == (data, f"application/x-{kind}")


def test_a_dataset_comes_back_byte_for_byte_or_in_part(api):
    view = api.upload().json
    whole = api.get(view["links"]["content"])
    assert whole.data == flowers()
    assert whole.mimetype == "text/csv"
    assert f"attachment; filename={view['id']}.csv" == whole.headers["Content-Disposition"]
    assert whole.headers["ETag"] == f'"{view["sha256"]}"'
    part = api.get(view["links"]["content"], headers={"Range": "bytes=0-5"})
    assert (part.status_code, part.data) == (206, flowers()[:6])
    beyond = api.get(view["links"]["content"], headers={"Range": "bytes=999999-"})
    assert beyond.status_code == 416
    same = api.get(view["links"]["content"], headers={"If-None-Match": whole.headers["ETag"]})
    assert (same.status_code, same.data) == (304, b"")


def test_a_file_of_just_the_limit_is_read(api):
    lines = flowers().splitlines(keepends=True)
    data = lines[0] + b"".join(lines[1:]) * 3000
    data = data[: api.settings.max_upload_bytes].rpartition(b"\n")[0] + b"\n"
    assert api.upload(data).status_code == 201
    padded = data + b"\n" * (api.settings.max_upload_bytes - len(data))
    assert api.upload(padded).status_code == 201


def test_lists_are_read_page_by_page_newest_first(api):
    made = [api.upload(flowers(seed=seed)).json["id"] for seed in range(5)]
    found, address = [], "/v1/datasets?limit=2"
    pages = 0
    while address:
        answer = api.get(address)
        found += [item["id"] for item in answer.json["items"]]
        pages += 1
        link = answer.headers.get("Link")
        assert (link is None) == (answer.json["next"] is None)
        address = link and link.removeprefix("<").removesuffix('>; rel="next"')
        assert address is None or f"cursor={answer.json['next']}" in address
    assert (found, pages) == (made[::-1], 3)


def test_an_architecture_is_rendered_and_summed_up(api):
    document = {"name": "small", "input": {"shape": [4]}, **network(8, 3)}
    answer = api.post("/v1/architectures", json=document)
    assert answer.status_code == 201, answer.text
    view = answer.json
    assert answer.headers["Location"] == view["links"]["self"]
    assert view["spec"]["layers"][0]["activation"] == "linear"
    assert view["summary"]["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert [row["output_shape"] for row in view["summary"]["layers"]] == [[8], [3]]
    assert api.get(view["links"]["self"]).json == view
    assert api.get("/v1/architectures").json["items"] == [view]


def test_an_architecture_may_leave_its_input_to_the_data(api):
    view = api.post("/v1/architectures", json=network(8, "auto")).json
    assert view["summary"] is None
    job = api.submit(architecture=None, architecture_id=view["id"])
    assert job["config"]["architecture"]["layers"][1]["units"] == 3
    assert job["config"]["architecture_id"] == view["id"]


def test_validating_an_architecture_stores_nothing(api):
    before = api.row_counts()
    document = {"input": {"shape": [4]}, **network(8, 3)}
    answer = api.post("/v1/architectures?validate_only=true", json=document)
    assert answer.status_code == 200
    assert answer.json["id"] is None
    assert answer.json["summary"]["parameters"] == 67
    layers = [{"kind": "dense", "units": 8}, {"kind": "add", "inputs": ["input", "dense_1"]}]
    misfit = {"input": {"shape": [4]}, "layers": layers}
    bad = api.post("/v1/architectures?validate_only=true", json=misfit)
    assert bad.status_code == 422
    assert bad.json["errors"][0]["pointer"] == "/layers/1/inputs"
    assert "(4,) and (8,)" in bad.json["errors"][0]["detail"]
    assert api.row_counts() == before
