"""What holds for every route: keys, the OpenAPI document, the page that shows it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import service.api
from service.api.auth import PUBLIC
from tests.waiting import eventually

STATIC = Path(service.api.__path__[0]) / "static"
VALUES = {
    "dataset_id": "ds_" + "0" * 32,
    "architecture_id": "arch_" + "0" * 32,
    "job_id": "job_" + "0" * 32,
    "model_id": "mdl_" + "0" * 32,
    "step": 0,
    "upload_id": "upl_" + "0" * 32,
    "number": 1,
    "filename": "swagger-ui/NOTICE",
}
IDS = {"dataset_id", "architecture_id", "job_id", "model_id", "upload_id"}
PUBLIC_PATHS = {"/healthz", "/readyz", "/docs", "/docs/static/<path:filename>", "/v1/openapi.json"}


def routes(api):
    """Every rule and method of the application, and an address for it."""
    adapter = api.client.application.url_map.bind("localhost")
    for rule in api.client.application.url_map.iter_rules():
        values = {name: VALUES[name] for name in rule.arguments}
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            yield rule, method, adapter.build(rule.endpoint, values, method)


def test_every_route_but_the_public_ones_needs_a_key(api):
    public = set()
    for rule, method, address in routes(api):
        status = api.call(method, address, key=None).status_code
        if rule.endpoint in PUBLIC:
            public.add(rule.rule)
            assert status in (200, 503), address
        else:
            assert status == 401, address
            assert api.call("OPTIONS", address, key=None).status_code == 401
    assert public == PUBLIC_PATHS


def test_what_is_not_there_cannot_be_told_without_a_key(api):
    assert api.get("/v1/secrets", key=None).status_code == 401


def test_a_revoked_key_opens_nothing_a_second_later(api):
    from service.actions import keys

    with api.database.read() as session:
        principal = keys.authenticate(session, api.key)
    assert api.get("/v1/jobs").status_code == 200
    api.database.transact(lambda uow: keys.revoke(uow, principal.tenant_id, principal.key_id))
    eventually(lambda: api.get("/v1/jobs").status_code == 401, within_s=1.5)


def test_a_foreign_thing_reads_like_a_missing_one(api):
    """The matrix: each route with an id, asked by the owner of another thing of that kind."""
    job = api.submit()
    stored = api.post("/v1/architectures", json={"layers": [{"kind": "flatten"}]}).json
    upload = api.post("/v1/uploads", json={"format": "csv", "bytes": 7}).json
    foreign = {
        "dataset_id": job["dataset_id"],
        "architecture_id": stored["id"],
        "job_id": job["id"],
        "model_id": VALUES["model_id"],
        "step": 0,
        "upload_id": upload["id"],
        "number": 1,
    }
    stranger = api.other_tenant()
    adapter = api.client.application.url_map.bind("localhost")
    bodies = {
        "predict": {"rows": [{"length": 1}]},
        "predictions": {"dataset_id": job["dataset_id"]},
    }
    asked = 0
    for rule, method, _ in routes(api):
        if not rule.arguments & IDS:
            continue
        answers = []
        for source in (foreign, VALUES):
            values = {name: source[name] for name in rule.arguments}
            body = bodies.get(rule.rule.rpartition("/")[2])
            address = adapter.build(rule.endpoint, values, method)
            options: dict = {"json": body} if body else {}
            if rule.endpoint == "uploads.put_part":
                options = {"data": b"a,b\n1,2", "content_type": "application/octet-stream"}
            answer = api.call(method, address, key=stranger, **options)
            assert answer.status_code == 404, address
            problem = answer.json
            del problem["request_id"]
            problem["detail"] = re.sub(r"[0-9a-f]{32}", "ID", problem["detail"])
            answers.append(problem)
        assert answers[0] == answers[1]
        asked += 1
    assert asked == 28
    assert api.get("/v1/jobs", key=stranger).json == {"items": [], "next": None}
    assert api.get("/v1/datasets", key=stranger).json == {"items": [], "next": None}
    submitted = api.post("/v1/jobs", json=api.job_request(), key=stranger)
    assert submitted.status_code == 404
    assert api.get(f"/v1/jobs/{job['id']}").json["state"] == "queued"


def test_the_document_is_valid_and_names_every_route(api):
    document = api.get("/v1/openapi.json", key=None).json
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")
    documented = {
        (path, method.upper()) for path, item in document["paths"].items() for method in item
    }
    existing = {
        (re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule), method)
        for rule, method, _ in routes(api)
        if rule.endpoint not in ("docs.read_docs", "docs.static", "openapi.spec")
    }
    assert documented == existing


def test_every_operation_says_what_it_does_and_how_it_can_fail(api):
    document = api.get("/v1/openapi.json", key=None).json
    operations = {
        f"{method} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    for name, operation in operations.items():
        assert operation["summary"].endswith("."), name
        assert any(status < "400" for status in operation["responses"]), name
        if "/v1/" in name:
            problem = operation["responses"]["401"]["content"]["application/problem+json"]
            assert problem == {"schema": {"$ref": "#/components/schemas/Problem"}}
    assert operations["get /healthz"]["security"] == []
    assert set(operations["post /v1/datasets"]["requestBody"]["content"]) == {
        "text/csv",
        "text/tab-separated-values",
        "application/x-ndjson",
        "application/vnd.apache.parquet",
        "application/x-npz",
        "application/x-npy",
        "application/x-idx",
        "application/json",
    }
    assert len({o["operationId"] for o in operations.values()}) == len(operations)


def test_every_reference_of_the_document_leads_somewhere(api):
    text = api.get("/v1/openapi.json", key=None).text
    schemas = api.get("/v1/openapi.json", key=None).json["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert references
    assert references <= set(schemas)


def test_the_page_refers_to_no_other_host(api):
    page = api.get("/docs", key=None)
    assert page.status_code == 200
    addresses = re.findall(r'(?:src|href|data-document)="([^"]+)"', page.text)
    assert len(addresses) == 5
    for address in addresses:
        assert address.startswith("/")
        assert not address.startswith("//")
        assert api.get(address, key=None).status_code == 200
    assert "://" not in page.text
    assert "://" not in (STATIC / "page" / "docs.js").read_text()
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


def test_the_vendored_files_are_those_of_the_notice():
    folder = STATIC / "swagger-ui"
    noted = dict(
        reversed(line.split("  "))
        for line in (folder / "NOTICE").read_text().splitlines()
        if re.match(r"[0-9a-f]{64}  ", line)
    )
    present = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "NOTICE"
    }
    assert present.items() <= noted.items()
    assert noted.keys() - present.keys() == {"swagger-ui-dist-5.35.0.tgz"}


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/v1/nothing", "/docs"])
def test_every_answer_is_named_and_not_to_be_sniffed(api, path):
    answer = api.get(path, headers={"X-Request-Id": "proxy-1.a"})
    assert answer.headers["X-Request-Id"] == "proxy-1.a"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"]
    assert "Content-Security-Policy" in answer.headers


def test_a_request_id_that_could_forge_a_log_line_is_replaced(api):
    answer = api.get("/healthz", headers={"X-Request-Id": 'a"b c' + "x" * 200})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])
