"""Two API processes and two workers on Redis and PostgreSQL, as docker-compose.yml has them."""

import json
import shlex
import socket
import urllib.request
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from service.store.tables import JobEvent
from tests.processes import process
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
KEY = "cr_integration_test_key"
LAYERS = [{"kind": "dense", "units": 16, "activation": "relu"}, {"kind": "dense", "units": "auto"}]


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(COMPOSE.read_text())


def module_of(service):
    """The module of a service's command ``python -m module``, and its arguments."""
    command = service["command"]
    words = shlex.split(command) if isinstance(command, str) else command
    assert words[:2] == ["python", "-m"]
    return words[2], words[3:]


@pytest.fixture
def topology(compose, new_postgres, redis_url, tmp_path):
    """The services of the compose file as processes; returns the addresses of the two APIs."""
    url = new_postgres()
    settings = {"DATABASE_URL": url, "REDIS_URL": redis_url, "API_KEY": KEY}
    with ExitStack() as stack:

        def start(name, number=0, **own):
            module, arguments = module_of(compose["services"][name])
            log = tmp_path / f"{name}-{number}.log"
            own = {"DATA_DIR": tmp_path / f"{name}-{number}", **own}
            return stack.enter_context(process(module, *arguments, log=log, **settings, **own))

        assert start("migrate").wait(120) == 0, (tmp_path / "migrate-0.log").read_text()
        ports = [free_port(), free_port()]
        for number, port in enumerate(ports):
            start("api", number, HOST="127.0.0.1", PORT=port)
        for number in range(2):
            start("worker", number, TRAINERS=1)
        apis = [Api(f"http://127.0.0.1:{port}") for port in ports]
        for api in apis:
            eventually(api.is_ready)
        yield apis, url


class Api:
    def __init__(self, url):
        self.url = url

    def call(self, method, path, body=None, content_type="application/json"):
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        if data is not None:
            request.add_header("Content-Type", content_type)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def is_ready(self):
        try:
            return set(self.call("GET", "/readyz").values()) == {"ok"}
        except OSError:
            return False


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_jobs_sent_to_either_api_are_spread_over_both_workers(topology, open_database):
    (first, second), url = topology
    data = (files("chainrule") / "data" / "digits.csv").read_bytes()
    dataset = first.call("POST", "/v1/datasets?name=digits", data, "text/csv")["id"]
    jobs = []
    for seed in range(6):
        body = {
            "dataset_id": dataset,
            "data": {"target": "digit", "task": "classification"},
            "architecture": {"layers": LAYERS},
            "training": {"epochs": 100, "seed": seed},
        }
        jobs.append((first, second)[seed % 2].call("POST", "/v1/jobs", body)["id"])
    for job in jobs:
        # What one API took in, the other can tell of.
        final = eventually(
            lambda job=job: (j := second.call("GET", f"/v1/jobs/{job}"))["ended_at"] and j
        )
        assert final["state"] == "succeeded", final
        assert final["attempt"] == 1
    with open_database(url).read() as session:
        claims = select(JobEvent.who).where(JobEvent.to_state == "running")
        owners = [who.rpartition(":")[0] for who in session.scalars(claims)]
    assert len(owners) == 6
    assert len(set(owners)) == 2


def test_the_compose_file_has_the_services_of_the_design(compose):
    services = compose["services"]
    assert {"api", "worker", "migrate", "redis", "postgres"} <= set(services)
    for name in ("api", "worker", "redis", "postgres"):
        check = services[name]["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert check["interval"]
    for name in ("api", "worker"):
        needs = services[name]["depends_on"]
        assert needs["migrate"]["condition"] == "service_completed_successfully"
        environment = services[name]["environment"]
        assert environment["CHAINRULE_DATABASE_URL"].startswith("postgresql://")
        assert environment["CHAINRULE_REDIS_URL"].startswith("redis://")


def test_the_commands_of_the_compose_file_are_modules_of_ours(compose):
    found = {name: module_of(compose["services"][name])[0] for name in ("api", "worker", "migrate")}
    assert found == {"api": "service", "worker": "worker", "migrate": "service.store.migrate"}


def test_the_workers_healthcheck_tells_a_worker_from_none(compose, sqlite_url, tmp_path):
    check = compose["services"]["worker"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "-m"]
    settings = {"DATABASE_URL": sqlite_url, "DATA_DIR": tmp_path}
    log = tmp_path / "log"

    def is_healthy():
        with process(check[3], *check[4:], log=log, **settings) as checking:
            return checking.wait(60) == 0

    assert not is_healthy()
    with process("worker", log=log, TRAINERS=1, **settings):
        eventually(is_healthy)


def test_no_secret_is_written_into_the_compose_file(compose):
    text = COMPOSE.read_text()
    assert "${CHAINRULE_API_KEY" in text
    assert "${POSTGRES_PASSWORD" in text
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "KEY" in name:
                assert value.startswith("${"), name
