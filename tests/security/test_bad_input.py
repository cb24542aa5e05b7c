"""Bad input: the right status and place, nothing stored, and the next good request works."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.api_testing import MAX_UPLOAD_BYTES, Api, flowers, network
from tests.graph_jobs import PAIR_LAYERS, pair_job, pairs

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = "application/json"
UNKNOWN = "0" * 32
Request = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """``make`` gives method, path and options; ``pointer`` and ``says`` are of the answer."""

    make: Callable[[Api], Request]
    status: int
    pointer: str | None = None
    says: str = ""


def job(status: int, pointer: str, says: str, **changes: Any) -> Case:
    """A job that is good but for some parts of it."""
    return Case(
        lambda api: ("POST", "/v1/jobs", {"json": api.job_request(**changes)}),
        status,
        pointer,
        says,
    )


def body(data: bytes, status: int, says: str, content_type: str | None = JSON) -> Case:
    """Bytes that are no job."""
    options = {"data": data, "content_type": content_type}
    return Case(lambda _: ("POST", "/v1/jobs", options), status, None, says)


def upload(
    data: bytes, status: int, pointer: str | None, says: str, content_type: str | None = "text/csv"
) -> Case:
    """A file that is no dataset."""
    options = {"data": data, "content_type": content_type}
    return Case(lambda _: ("POST", "/v1/datasets", options), status, pointer, says)


def read(path: str, status: int, says: str = "", method: str = "GET", **options: Any) -> Case:
    return Case(lambda _: (method, path, options), status, None, says)


def several(pointer: str, says: str, **changes: Any) -> Case:
    """A job of a network with two inputs and two outputs, but for some parts of it."""

    def make(api: Api) -> Request:
        rows = {name: array[:60].tolist() for name, array in pairs().items()}
        sides = {name: rows[name] for name in ("left", "right")}
        heads = {name: rows[name] for name in ("same", "far")}
        dataset = api.post("/v1/datasets", json={"inputs": sides, "targets": heads})
        parts = pair_job()
        for name, value in changes.items():
            part, _, key = name.partition("__")
            parts[part] = {**parts[part], key: value} if key else value
        return "POST", "/v1/jobs", {"json": {"dataset_id": dataset.json["id"], **parts}}

    return Case(make, 422, pointer, says)


def lines(*rows: str) -> bytes:
    return "\n".join(["length,species", *rows, ""]).encode()


def packed(data: bytes, status: int, says: str, encoding: str = "gzip") -> Case:
    options = {
        "data": data,
        "content_type": "text/csv",
        "headers": {"Content-Encoding": encoding},
    }
    return Case(lambda api: ("POST", "/v1/datasets", options), status, None, says)


def begun(status: int, pointer: str | None, says: str, **changes: Any) -> Case:
    request = {"format": "csv", "bytes": 7, **changes}
    return Case(lambda api: ("POST", "/v1/uploads", {"json": request}), status, pointer, says)


LIE = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9,)}\n"
TEXT = lines(*[f"{n}.5,{'ab'[n % 2]}" for n in range(30)], "tall,a")
LAYER = "/architecture/layers"
CASES = {
    # The architecture.
    "unknown layer kind": job(
        422,
        f"{LAYER}/0/kind",
        "must be one of",
        architecture={"layers": [{"kind": "conv9d", "units": 3}]},
    ),
    "no layer kind": job(
        422, f"{LAYER}/0/kind", "is missing", architecture={"layers": [{"units": 3}]}
    ),
    "units 0": job(422, f"{LAYER}/0/units", "must be >= 1, got 0", architecture=network(0, "auto")),
    "units -1": job(422, f"{LAYER}/0/units", ">= 1", architecture=network(-1, "auto")),
    "units as text": job(422, f"{LAYER}/0/units", "'8'", architecture=network("8", "auto")),
    "units 1.5": job(422, f"{LAYER}/1/units", "integer", architecture=network(8, 1.5)),
    "auto in the middle": job(
        422, f"{LAYER}/0/units", "only the last layer", architecture=network("auto", 3)
    ),
    "no layers": job(422, LAYER, "at least 1", architecture={"layers": []}),
    "100,000 layers": job(422, LAYER, "at most", architecture=network(*[1] * 10_000)),
    "dropout of everything": job(
        422,
        f"{LAYER}/0/rate",
        "must be < 1, got 1",
        architecture={"layers": [{"kind": "dropout", "rate": 1.0}]},
    ),
    "a shape that is not the data's": job(
        422,
        "/architecture/input/shape",
        "(4,)",
        architecture={"input": {"shape": [9]}, **network("auto")},
    ),
    "a layer of a trillion weights": job(
        422, LAYER, "parameters", architecture=network(1_000_000, 1_000_000, "auto")
    ),
    "a network that needs more memory than a job may have": job(
        422, "/architecture", "MiB", architecture=network(11_000, 11_000, "auto")
    ),
    "no architecture": job(422, "", "architecture", architecture=None),
    # The loss and the head.
    "softmax of 7 on 3 classes": job(
        422, f"{LAYER}/1/units", "must be 3 for softmax_cross_entropy", architecture=network(8, 7)
    ),
    "squared error on words": job(
        422, "/data/target", "species", training={"loss": "mean_squared_error"}
    ),
    "binary loss on 3 classes": job(
        422, "/data/target", "3", training={"loss": "binary_cross_entropy"}
    ),
    "unknown loss": job(
        422, "/training/loss", "softmax_cross_entropy", training={"loss": "squared"}
    ),
    # The data.
    "a target that is not there": job(
        422,
        "/data/target",
        "'length', 'width', 'colour', 'height'",
        data={"target": "petals"},
    ),
    "an input that is not there": job(
        422, "/data/inputs/0", "weight", data={"inputs": ["weight"], "target": "species"}
    ),
    "a split that leaves nothing": job(
        422,
        "/data/split",
        "no rows",
        data={"target": "species", "split": {"validation": 0.6, "test": 0.6}},
    ),
    "an unknown dataset": Case(
        lambda api: ("POST", "/v1/jobs", {"json": api.job_request(dataset_id=f"ds_{UNKNOWN}")}),
        404,
    ),
    "an unknown architecture": Case(
        lambda api: (
            "POST",
            "/v1/jobs",
            {"json": api.job_request(architecture=None, architecture_id=f"arch_{UNKNOWN}")},
        ),
        404,
    ),
    # The training.
    "no epochs": job(422, "/training/epochs", "must be >= 1", training={"epochs": 0}),
    "10^18 epochs": job(422, "/training/epochs", "must be <=", training={"epochs": 10**15}),
    "batches of 10^9": job(422, "/training/batch_size", "<=", training={"batch_size": 10**9}),
    "learning rate 1e308": job(
        422,
        "/training/optimizer/learning_rate",
        "must be <=",
        training={"optimizer": {"kind": "sgd", "learning_rate": 1e308}},
    ),
    "true as a number": job(422, "/training/epochs", "integer", training={"epochs": True}),
    # Several inputs and outputs.
    "a loss of no output": several(
        "/training/losses/near", "there is same, far", training__losses={"near": "huber"}
    ),
    "a loss and losses": several(
        "/training/losses", "not both", training__losses={"far": "huber"}, training__loss="huber"
    ),
    "a loss that does not fit its output": several(
        "/data/target/1", "class numbers", training__losses={"far": "softmax_cross_entropy"}
    ),
    "a negative weight of a loss": several(
        "/training/losses/far/weight",
        "must be > 0",
        training__losses={"far": {"kind": "huber", "weight": -1.0}},
    ),
    "a width that is not the output's": several(
        f"{LAYER}/4/units",
        "must be 2 for softmax_cross_entropy of output 'same'",
        architecture__layers=[*PAIR_LAYERS[:4], {**PAIR_LAYERS[4], "units": 5}, PAIR_LAYERS[5]],
    ),
    "a shape that is not the output's": several(
        "/training/losses/far",
        "layer 'far' gives (2, 4)",
        architecture__layers=[
            *PAIR_LAYERS[:5],
            {"kind": "reshape", "target_shape": [2, 4], "name": "far", "inputs": ["seen"]},
        ],
    ),
    "an input that has no array": several(
        "/data/inputs", "name the array of each", architecture__inputs={"up": {"shape": [2]}}
    ),
    "a shape that is not the array's": several(
        "/architecture/inputs/right/shape",
        "(2,)",
        architecture__inputs={"left": {"shape": [2]}, "right": {"shape": [3]}},
    ),
    "an array that is no name": several(
        "/architecture/inputs/ri ght",
        "pattern",
        data__inputs={"left": "left", "ri ght": "right"},
    ),
    "an array that is a number": several(
        "/data/inputs/right", "must be a valid string", data__inputs={"left": "left", "right": 7}
    ),
    "one target of two outputs": several(
        "/data/target", "1 array for 2 outputs", data__target="far"
    ),
    "an output that is no layer": several(
        "/architecture/outputs/2",
        "'near' is not a layer",
        architecture__outputs=["same", "far", "near"],
        data__target=["same", "far", "far"],
    ),
    "an output twice": several(
        "/architecture/outputs/2",
        "twice",
        architecture__outputs=["same", "far", "same"],
    ),
    "auto units of no output": several(
        f"{LAYER}/3/units",
        "only layers that give an output",
        architecture__layers=[
            *PAIR_LAYERS[:3],
            {**PAIR_LAYERS[3], "units": "auto"},
            *PAIR_LAYERS[4:],
        ],
    ),
    "class weights of two outputs": several(
        "/training/class_weights", "one output", training__class_weights={"0": 2.0}
    ),
    "listed class weights of two outputs": several(
        "/training/class_weights", "one output", training__class_weights=[1.0, 2.0]
    ),
    "10,000 losses": several(
        "/training/losses/a0",
        "no such output",
        training__losses={f"a{n}": "huber" for n in range(10_000)},
    ),
    # Mass assignment and fields that could fetch.
    "a tenant": job(422, "/tenant", "is not a known field", tenant="default"),
    "a state": job(422, "/state", "is not a known field", state="succeeded"),
    "an attempt": job(422, "/attempt", "is not a known field", attempt=7),
    "an address to fetch": job(
        422, "/data/url", "is not a known field", data={"target": "species", "url": "file:///etc"}
    ),
    # JSON.
    "empty body": body(b"", 400, "empty"),
    "half a document": body(b'{"dataset_id": ', 400, "line 1"),
    "NaN": body(b'{"training": {"epochs": NaN}}', 400, "NaN"),
    "Infinity": body(b'{"training": {"epochs": -Infinity}}', 400, "Infinity"),
    "1e999": body(b'{"training": {"epochs": 1e999}}', 400, "double"),
    "beyond 2^53": body(b'{"training": {"seed": 9007199254740993}}', 400, "2^53"),
    "5,000 digits": body(b'{"training": {"seed": ' + b"1" * 5000 + b"}}", 400, "2^53"),
    "a name twice": body(b'{"name": "a", "name": "b"}', 400, "twice"),
    "lone surrogate": body(rb'{"name": "\ud800"}', 400, "surrogate"),
    "U+0000": body(rb'{"name": "a\u0000"}', 400, "U+0000"),
    "not UTF-8": body(b'{"name": "\xff"}', 400, "UTF-8"),
    "100,000 brackets": body(b"[" * 100_000, 400, "32 deep"),
    "100,000 objects": body(b'{"a":' * 100_000, 400, "32 deep"),
    "a list": body(b"[]", 422, "object"),
    "a number": body(b"7", 422, "object"),
    "JSON within a string": body(rb'"{\"name\": \"a\\u0000\"}"', 422, "object"),
    "a JSON body over 1 MiB": body(b" " * (2**20 + 1), 413, "1,048,576"),
    "no content type": body(b"{}", 415, "application/json", None),
    "text as JSON": body(b"{}", 415, "text/plain", "text/plain"),
    "a form": body(b"a=1", 415, "application/json", "application/x-www-form-urlencoded"),
    "JSON in UTF-16": body(b"{}", 415, "utf-16", "application/json; charset=utf-16"),
    # Files.
    "text in a numeric column": upload(TEXT, 422, "/rows/30/length", "line 32"),
    "an empty CSV": upload(b"", 422, "/file", "empty"),
    "a header alone": upload(b"a,b\n", 422, "/file", "no rows"),
    "a row too long": upload(lines("1,a", "2,b,c"), 422, "/file", "line 3: has 3 fields"),
    "a row too short": upload(lines("1,a", "2"), 422, "/file", "line 3: has 1 field"),
    "a column twice": upload(b"a,a\n1,2\n", 422, "/file", "twice"),
    "NUL in a CSV": upload(b"a,b\n1,\0\n", 422, "/file", "NUL"),
    "1e999 in a CSV": upload(lines(*["1,a"] * 20, "1e999,b"), 422, "/rows/20/length", "1e999"),
    "not UTF-8 in a CSV": upload(b"a,\xc3\xa9\n1,\xff\n", 422, "/file", "UTF-8"),
    "a CSV as NPZ": upload(flowers(), 422, "/file", "", "application/x-npz"),
    "a CSV as JSON": upload(flowers(), 422, "/file", "", JSON),
    "100,000 brackets as data": upload(b"[" * 100_000, 422, "/file", "", JSON),
    "a pickle": upload(b"\x80\x04N.", 415, None, "text/csv", "application/octet-stream"),
    "a Keras file": upload(b"PK", 415, None, "text/csv", "application/x-keras"),
    "a file in a form": upload(flowers(), 415, None, "--data-binary", "multipart/form-data"),
    "a file without a type": upload(flowers(), 415, None, "text/csv", None),
    "a multipart file": upload(b"--x--", 415, None, "text/csv", "multipart/form-data; boundary=x"),
    "a file too large": upload(b"1" * (MAX_UPLOAD_BYTES + 1), 413, None, "3,145,728"),
    "half a packed file": packed(b"\x1f\x8b", 422, "is cut short"),
    "what is not packed": packed(flowers(), 422, "does not unpack"),
    "a packed bomb": packed(gzip.compress(bytes(50 << 20)), 413, "unpacks to more than 3,145,728"),
    "a file packed otherwise": packed(b"x", 415, "Content-Encoding", "br"),
    "packed JSON": read(
        "/v1/jobs", 415, "Content-Encoding", "POST", headers={"Content-Encoding": "gzip"}
    ),
    "an NPY that lies": upload(
        b"\x93NUMPY\1\0" + bytes([len(LIE), 0]) + LIE,
        422,
        "/file",
        "72 bytes",
        "application/x-npy",
    ),
    "a CSV as IDX": upload(flowers(), 422, "/file", "idx", "application/x-idx"),
    # Uploads in parts.
    "an upload of nothing": begun(422, "/bytes", ">= 1", bytes=0),
    "an upload of 10^15 bytes": begun(413, None, "3,145,728", bytes=10**15),
    "an upload of no format": begun(422, "/format", "must be", format="pickle"),
    "an upload with a digest that is none": begun(422, "/sha256", "pattern", sha256="../etc"),
    "an upload with types that are none": begun(422, "/types/a", "must be", types={"a": "blob"}),
    "a part of an unknown upload": Case(
        lambda api: (
            "PUT",
            f"/v1/uploads/upl_{UNKNOWN}/parts/1",
            {"data": b"x", "content_type": "application/octet-stream"},
        ),
        404,
    ),
    "a part too large": Case(
        lambda api: (
            "PUT",
            f"/v1/uploads/upl_{UNKNOWN}/parts/1",
            {"data": b"x" * (MAX_UPLOAD_BYTES + 1), "content_type": "application/octet-stream"},
        ),
        413,
    ),
    "a part of 5,000 digits": read(f"/v1/uploads/upl_{UNKNOWN}/parts/{'1' * 5000}", 404),
    # Addresses.
    "an unknown id": read(f"/v1/jobs/job_{UNKNOWN}", 404),
    "an id of 5,000 digits": read("/v1/jobs/" + "1" * 5000, 404, "nothing here"),
    "a step of 5,000 digits": read(
        f"/v1/jobs/job_{UNKNOWN}/checkpoints/{'1' * 5000}/download", 404
    ),
    "an id of another kind": read(f"/v1/jobs/mdl_{UNKNOWN}", 404, "nothing here"),
    "an id that goes on": read(f"/v1/jobs/job_{UNKNOWN}0", 404, "nothing here"),
    "an id with a NUL": read("/v1/jobs/job_%00", 404, "nothing here"),
    "a path upwards": read("/v1/jobs/..%2f..%2fetc%2fpasswd", 404),
    "a path upwards, twice encoded": read("/v1/jobs/%252e%252e%252fetc", 404),
    "a path with parameters": read("/v1/jobs/;/../../v1/models", 404),
    "a path with a backslash": read("/v1/jobs/..\\..\\etc", 404),
    "SQL in an id": read("/v1/jobs/job_' OR '1'='1", 404, "nothing here"),
    "an address that is none": read("/v2/jobs", 404),
    "a method that is none": read("/v1/jobs", 405, method="DELETE"),
    "an unknown parameter": read("/v1/jobs?sort=name", 422, "sort: is not a known field"),
    "a parameter twice": read("/v1/jobs?limit=1&limit=2", 422, "limit: is given twice"),
    "10,000 parameters": read("/v1/jobs?" + "&".join(f"p{n}=1" for n in range(10_000)), 422),
    "a limit of 0": read("/v1/jobs?limit=0", 422, "limit: must be >= 1"),
    "a limit of 10^9": read("/v1/jobs?limit=1000000000", 422, "limit: must be <= 100"),
    "a cursor that is none": read("/v1/jobs?cursor=x%27%3B", 422, "cursor"),
    "a NUL in a parameter": read("/v1/jobs?name=a%00", 400, "U+0000"),
    "a state that is none": read("/v1/jobs?state=lost", 422, "state: must be one of"),
    # Keys.
    "no key": read("/v1/jobs", 401, "Bearer", key=None),
    "a wrong key": read("/v1/jobs", 401, "not known", key="cr_wrong"),
    "another scheme": read("/v1/jobs", 401, headers={"Authorization": "Basic YTpi"}),
    "an empty key": read("/v1/jobs", 401, headers={"Authorization": "Bearer "}),
    "junk for a key": read("/v1/jobs", 401, headers={"Authorization": "Bearer \xff\xfe"}),
    "a key in the address": read("/v1/jobs?api_key=cr_secret", 400, "never in the address"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_at_its_place_and_leaves_no_trace(name, api):
    case = CASES[name]
    api.upload()
    method, path, options = case.make(api)
    before = api.row_counts()

    answer = api.call(method, path, **options)

    assert answer.status_code == case.status, answer.text
    assert answer.mimetype == "application/problem+json"
    problem = json.loads(answer.data)
    assert set(problem) == {"type", "title", "status", "detail", "errors", "request_id"}
    assert problem["status"] == case.status
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    if case.pointer is not None:
        assert case.pointer in {error["pointer"] for error in problem["errors"]}, problem
    assert case.says in problem["detail"], problem
    assert len(answer.data) < 20_000
    assert "Traceback" not in answer.text
    assert str(api.settings.data_dir) not in answer.text
    assert api.row_counts() == before
    assert api.bell.rung == []
    assert list((api.settings.data_dir / "uploads").iterdir()) == []

    good = api.post("/v1/jobs", json=api.job_request())
    assert good.status_code == 202, good.text
    assert api.get(f"/v1/jobs/{good.json['id']}").json["state"] == "queued"


def test_a_401_says_how_to_authenticate(api):
    answer = api.get("/v1/jobs", key=None)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="chainrule"'


def test_a_405_names_the_methods_that_there_are(api):
    answer = api.call("DELETE", "/v1/jobs")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


def test_a_failure_of_ours_tells_the_client_nothing(api, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr("service.actions.jobs.current_version", fail)
    answer = api.get(f"/v1/jobs/job_{UNKNOWN}")
    assert answer.status_code == 500
    assert answer.mimetype == "application/problem+json"
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
