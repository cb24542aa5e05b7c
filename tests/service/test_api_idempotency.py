"""``Idempotency-Key``: a request sent again is answered again, and has one effect."""

from __future__ import annotations

import base64
import hashlib
import threading
import time

import pytest
from sqlalchemy import update

from service.actions import once
from service.actions.recovery import Recovery
from service.app import create_app
from service.store import transitions
from service.store.tables import IdempotencyKey
from tests.api_testing import NotingBell, flowers, network, trained

KEY = {"Idempotency-Key": "the-first-try"}


def named(name):
    return {"Idempotency-Key": name}


def upload_named(api, name, data):
    kind = {"data": data, "content_type": "text/csv"}
    return api.post("/v1/datasets", headers=named(name), **kind)


@pytest.fixture
def model(api):
    return trained(api)["model_id"]


def requests(api, job, model):
    """Every request that may have an effect, by the rule that takes it."""
    stored = api.post("/v1/architectures", json=network(3)).json["id"]
    old = api.submit(name="old")["id"]
    api.post(f"/v1/jobs/{old}/cancel")
    spare = api.upload(b"a,b\n1,2\n").json["id"]
    csv = {"data": flowers(seed=1), "content_type": "text/csv"}
    begun = [api.post("/v1/uploads", json={"format": "csv", "bytes": 8}).json for _ in range(2)]
    raw = {"data": b"a,b\n1,3\n", "content_type": "application/octet-stream"}
    api.call("PUT", f"{begun[0]['links']['self']}/parts/1", **raw)
    return {
        "POST /v1/datasets": ("POST", "/v1/datasets?name=new", csv),
        "POST /v1/datasets/<ds:dataset_id>/parse": (
            "POST",
            f"/v1/datasets/{spare}/parse",
            {"query_string": {"types": '{"a": "number"}'}},
        ),
        "POST /v1/uploads": ("POST", "/v1/uploads", {"json": {"format": "csv", "bytes": 9}}),
        "POST /v1/uploads/<upl:upload_id>/complete": ("POST", begun[0]["links"]["complete"], {}),
        "DELETE /v1/uploads/<upl:upload_id>": ("DELETE", begun[1]["links"]["self"], {}),
        "POST /v1/architectures": ("POST", "/v1/architectures", {"json": network(2)}),
        "POST /v1/jobs": ("POST", "/v1/jobs", {"json": api.job_request()}),
        "POST /v1/jobs/<job:job_id>/pause": ("POST", f"/v1/jobs/{job}/pause", {}),
        "POST /v1/jobs/<job:job_id>/resume": ("POST", f"/v1/jobs/{job}/resume", {}),
        "POST /v1/jobs/<job:job_id>/cancel": ("POST", f"/v1/jobs/{job}/cancel", {}),
        "POST /v1/models/<mdl:model_id>/predict": (
            "POST",
            f"/v1/models/{model}/predict",
            {"json": {"rows": [{"length": 1, "width": -1, "colour": "blue"}]}},
        ),
        "POST /v1/models/<mdl:model_id>/predictions": (
            "POST",
            f"/v1/models/{model}/predictions",
            {"json": {"dataset_id": api.upload().json["id"]}},
        ),
        "DELETE /v1/datasets/<ds:dataset_id>": ("DELETE", f"/v1/datasets/{spare}", {}),
        "DELETE /v1/architectures/<arch:architecture_id>": (
            "DELETE",
            f"/v1/architectures/{stored}",
            {},
        ),
        "DELETE /v1/jobs/<job:job_id>": ("DELETE", f"/v1/jobs/{old}", {}),
        "DELETE /v1/models/<mdl:model_id>": ("DELETE", f"/v1/models/{model}", {}),
    }


def test_every_request_with_an_effect_has_it_once_and_one_answer(api, model):
    job = api.submit()["id"]
    cases = requests(api, job, model)
    rules = {
        f"{method} {rule.rule}"
        for rule in api.client.application.url_map.iter_rules()
        for method in rule.methods & {"POST", "PUT", "PATCH", "DELETE"}
    }
    rules.remove("PUT /v1/uploads/<upl:upload_id>/parts/<step:number>")  # the part is its name
    assert set(cases) == rules
    for name, (method, path, options) in cases.items():
        first = api.call(method, path, headers=named(name.replace(" ", "-")), **options)
        assert first.status_code < 300, (name, first.text)
        assert "Idempotent-Replayed" not in first.headers
        counts, rung = api.row_counts(), list(api.bell.rung)
        again = api.call(method, path, headers=named(name.replace(" ", "-")), **options)
        assert again.headers["Idempotent-Replayed"] == "true", name
        assert (again.status_code, again.data) == (first.status_code, first.data), name
        for header in ("Location", "Retry-After", "Content-Type"):
            assert again.headers.get(header) == first.headers.get(header), name
        assert (api.row_counts(), api.bell.rung) == (counts, rung), name


def test_a_named_answer_is_what_an_unnamed_one_would_be(api):
    first = api.post("/v1/jobs", json=api.job_request(), headers=KEY)
    read = api.get(f"/v1/jobs/{first.json['id']}")
    assert first.json == read.json
    plain = api.post("/v1/jobs", json=api.job_request())
    assert plain.status_code == first.status_code == 202
    assert set(plain.json) == set(first.json)
    assert plain.headers["Retry-After"] == first.headers["Retry-After"]


def test_a_key_that_named_another_request_is_refused(api):
    request = api.job_request()
    assert api.post("/v1/jobs", json=request, headers=KEY).status_code == 202
    counts = api.row_counts()
    others = [
        ("POST", "/v1/jobs", {"json": {**request, "name": "other"}}),
        ("POST", "/v1/jobs?validate_only=false", {"json": request}),
        ("POST", "/v1/architectures", {"json": network(2)}),
        ("POST", "/v1/datasets", {"data": flowers(), "content_type": "text/csv"}),
    ]
    for method, path, options in others:
        answer = api.call(method, path, headers=KEY, **options)
        assert answer.status_code == 422, path
        assert "another request" in answer.json["detail"]
    assert api.row_counts() == counts


def test_keys_belong_to_a_tenant(api):
    first = api.post("/v1/architectures", json=network(2), headers=KEY)
    other = api.post("/v1/architectures", json=network(3), headers=KEY, key=api.other_tenant())
    assert (first.status_code, other.status_code) == (201, 201)
    assert "Idempotent-Replayed" not in other.headers


def test_what_had_no_effect_keeps_no_answer(api):
    request = api.job_request()
    cases: list[tuple[int, str, dict]] = [
        (422, "/v1/jobs", {"training": {"epochs": 0}}),
        (404, "/v1/jobs", {"dataset_id": "ds_" + "0" * 32}),
        (200, "/v1/jobs?validate_only=true", {}),
    ]
    for status, path, changes in cases:
        answer = api.post(path, json={**request, **changes}, headers=KEY)
        assert answer.status_code == status
    answer = api.post("/v1/jobs", json=request, headers=KEY)
    assert answer.status_code == 202
    assert "Idempotent-Replayed" not in answer.headers


def test_an_answer_outlives_what_it_tells_of(api):
    request = api.job_request()
    first = api.post("/v1/jobs", json=request, headers=KEY)
    api.post(f"/v1/jobs/{first.json['id']}/cancel")
    for path in (f"/v1/jobs/{first.json['id']}", f"/v1/datasets/{request['dataset_id']}"):
        assert api.call("DELETE", path).status_code == 204
    again = api.post("/v1/jobs", json=request, headers=KEY)
    assert (again.status_code, again.data) == (202, first.data)


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "a\tb", "é", "two words"])
def test_a_name_that_is_none_is_refused(api, key):
    answer = api.post("/v1/architectures", json=network(2), headers=named(key))
    assert answer.status_code == 400
    assert api.row_counts()["idempotency_keys"] == 0


def test_a_quoted_name_is_the_same_name(api):
    first = api.post("/v1/architectures", json=network(2), headers=named("abc"))
    again = api.post("/v1/architectures", json=network(2), headers=named('"abc"'))
    assert again.data == first.data


def test_a_request_whose_first_try_is_under_way_is_asked_to_wait(api):
    in_flight = api.client.application.extensions["chainrule"].in_flight
    assert in_flight.enter(("default", "abc"))
    answer = api.post("/v1/architectures", json=network(2), headers=named("abc"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")
    in_flight.leave(("default", "abc"))
    for _ in range(2):
        answer = api.post("/v1/architectures", json=network(2), headers=named("abc"))
        assert answer.status_code == 201, "neither the refusal nor an answer leaves a mark"


@pytest.mark.parametrize("apart", [False, True], ids=["one process", "two processes"])
def test_the_same_request_many_times_at_once_makes_one_job(api, parser, apart):
    request = api.job_request()
    clients = [api.client.application.test_client]
    if apart:  # as another process: it knows of the first one's requests by the database alone
        other = create_app(api.settings, api.database, NotingBell(), parser)
        clients.append(other.test_client)
    before, answers, start = api.row_counts()["jobs"], [], threading.Barrier(8)

    def send(number):
        client = clients[number % len(clients)]()
        headers = {"Authorization": f"Bearer {api.key}", "Idempotency-Key": "race"}
        start.wait()
        while True:
            answer = client.post("/v1/jobs", json=request, headers=headers, buffered=True)
            if answer.status_code != 409:
                answers.append(answer)
                return
            time.sleep(0.01)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.data for answer in answers}) == 1
    assert len([a for a in answers if "Idempotent-Replayed" not in a.headers]) == 1
    assert api.row_counts()["jobs"] == before + 1


def test_a_lost_acknowledgement_leaves_one_effect_and_the_first_answer(api, lose_the_answer):
    request = api.job_request()
    lost = lose_the_answer()
    first = api.post("/v1/jobs", json=request, headers=KEY)
    assert lost == [True]
    assert first.status_code == 202
    assert "Idempotent-Replayed" not in first.headers
    assert api.bell.rung == [first.json["id"]]
    assert api.post("/v1/jobs", json=request, headers=KEY).data == first.data
    assert [job["id"] for job in api.get("/v1/jobs").json["items"]] == [first.json["id"]]
    for path in ("pause", "resume", "cancel"):
        lose_the_answer()
        answer = api.post(f"/v1/jobs/{first.json['id']}/{path}", headers=named(path))
        assert answer.status_code == 200
    lose_the_answer()
    gone = api.call("DELETE", f"/v1/jobs/{first.json['id']}", headers=named("delete"))
    assert gone.status_code == 204
    assert len(lost) == 5


def test_an_upload_is_known_by_its_bytes(api):
    first = upload_named(api, "up", flowers())
    assert first.status_code == 201
    again = upload_named(api, "up", flowers())
    assert (again.status_code, again.data) == (201, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert upload_named(api, "up", flowers(seed=5)).status_code == 422
    twice = upload_named(api, "another", flowers())
    assert (twice.status_code, twice.json["id"]) == (200, first.json["id"])
    replayed = upload_named(api, "another", flowers())
    assert (replayed.status_code, replayed.data) == (200, twice.data)


def test_a_body_that_is_not_the_one_of_its_digest_is_refused(api):
    def digest(data):
        return base64.b64encode(hashlib.sha256(data).digest()).decode()

    good = f"sha-512=:AAAA:, sha-256=:{digest(flowers())}:"
    bad = f"sha-256=:{digest(b'other')}:"
    for value, status in ((bad, 400), (good, 201)):
        answer = api.post(
            "/v1/datasets",
            data=flowers(),
            content_type="text/csv",
            headers={"Content-Digest": value},
        )
        assert answer.status_code == status


def test_answers_are_kept_for_a_day_and_then_forgotten_by_recovery(api):
    clock = [0.0]
    recovery = Recovery(api.database, api.bell.ring, clock=lambda: clock[0])
    for name in ("old", "young", "after"):
        api.post("/v1/architectures", json=network(2), headers=named(name))
    ages = {"old": once.KEPT_S + 60, "after": -once.KEPT_S - 60}
    for name, age in ages.items():
        set_age(api.database, name, age)
    set_age(api.database, "young", once.KEPT_S - 60)
    clock[0] += 3600
    recovery.tick()
    assert api.row_counts()["idempotency_keys"] == 1
    kept = api.post("/v1/architectures", json=network(2), headers=named("young"))
    assert kept.headers["Idempotent-Replayed"] == "true"


def test_a_failure_after_the_effect_takes_it_back(api, monkeypatch):
    """The answer cannot be made: then nothing happened either, and the key is free."""
    request = api.job_request()
    before = api.row_counts()

    def fail(*_):
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(transitions, "record", fail)
        api.client.application.testing = False
        assert api.post("/v1/jobs", json=request, headers=KEY).status_code == 500
    assert api.row_counts() == before
    assert api.post("/v1/jobs", json=request, headers=KEY).status_code == 202


def set_age(database, key, seconds):
    row = update(IdempotencyKey).where(IdempotencyKey.key == key)
    aged = row.values(created_at=time.time() - seconds)
    database.transact(lambda uow: uow.session.execute(aged))
