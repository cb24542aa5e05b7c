"""Settings, ids and keys."""

from __future__ import annotations

import os
import re
import stat
import threading

import pytest

from chainrule.errors import ConfigError
from service.actions import keys
from service.errors import NotFoundError
from service.ids import ID_PATTERNS, new_id
from service.settings import Settings


def test_settings_without_any_variable_are_those_of_embedded_mode(tmp_path):
    settings = Settings.from_env({"HOME": str(tmp_path)})
    assert settings.data_dir == tmp_path / ".local/share/chainrule"
    assert settings.database_url == f"sqlite:///{settings.data_dir}/chainrule.db"
    assert settings.embedded
    assert (settings.redis_url, settings.port) == (None, 8000)
    assert settings.trainers == len(os.sched_getaffinity(0))


def test_settings_are_read_from_variables(tmp_path):
    settings = Settings.from_env(
        {
            "CHAINRULE_DATA_DIR": str(tmp_path),
            "CHAINRULE_DATABASE_URL": "postgresql://chain@db/rule",
            "CHAINRULE_REDIS_URL": "redis+socket:///run/valkey.sock",
            "CHAINRULE_TRAINERS": "3",
            "CHAINRULE_MAX_UPLOAD_MIB": "2",
        }
    )
    assert not settings.embedded
    assert settings.database_url == "postgresql://chain@db/rule"
    assert settings.redis_url == "redis+socket:///run/valkey.sock"
    assert (settings.trainers, settings.max_upload_bytes) == (3, 2 * 2**20)
    assert settings.cache_dir == tmp_path / "cache"


def test_all_bad_variables_are_reported_at_once():
    bad = {
        "CHAINRULE_PORT": "x",
        "CHAINRULE_DATABASE_URL": "mysql://x",
        "CHAINRULE_REDIS_URL": "amqp://x",
        "CHAINRULE_TRAINERS": "0",
    }
    with pytest.raises(ConfigError) as complaint:
        Settings.from_env({**bad, "HOME": "/tmp"})
    assert len(complaint.value.problems) == 4
    for name in bad:
        assert name in str(complaint.value)


def test_ids_sort_by_their_making_and_match_their_pattern():
    ids = []
    for _ in range(3):
        ids.append(new_id("job"))
        threading.Event().wait(0.003)
    assert ids == sorted(ids)
    for kind, pattern in ID_PATTERNS.items():
        assert re.fullmatch(pattern, new_id(kind))
    version, variant = ids[0][4 + 12], ids[0][4 + 16]
    assert version == "7"
    assert variant in "89ab"
    assert len({new_id("ds") for _ in range(1000)}) == 1000


def test_a_key_is_known_by_its_secret_until_it_is_revoked(database):
    key, secret = database.transact(lambda uow: keys.create(uow, "laptop"))
    assert re.fullmatch(r"cr_[A-Za-z0-9_-]{43}", secret)

    def asks(text):
        with database.read() as session:
            return keys.authenticate(session, text)

    assert asks(secret) == keys.Principal("default", key.id)
    assert asks(secret + "x") is None
    assert asks("") is None
    with database.read() as session:
        (listed,) = keys.list_all(session, "default")
        assert keys.list_all(session, "other") == []
    assert secret not in str(vars(listed).values())
    with pytest.raises(NotFoundError):
        database.transact(lambda uow: keys.revoke(uow, "other", key.id))
    database.transact(lambda uow: keys.revoke(uow, "default", key.id))
    assert asks(secret) is None


def test_the_embedded_key_is_made_once_for_its_owners_eyes_only(database, tmp_path):
    settings = Settings.from_env({"CHAINRULE_DATA_DIR": str(tmp_path / "new")})
    secrets = [keys.ensure_key(database, settings) for _ in range(2)]
    assert secrets[0] == secrets[1] == settings.key_path.read_text().strip()
    assert stat.S_IMODE(settings.key_path.stat().st_mode) == 0o600
    assert [path.name for path in settings.data_dir.iterdir()] == ["api-key"]
    with database.read() as session:
        assert keys.authenticate(session, secrets[0])
        assert len(keys.list_all(session, "default")) == 1


def test_a_configured_key_is_registered_and_written_nowhere(database, tmp_path):
    environment = {"CHAINRULE_DATA_DIR": str(tmp_path / "new"), "CHAINRULE_API_KEY": "sesame"}
    settings = Settings.from_env(environment)
    assert keys.ensure_key(database, settings) == "sesame"
    assert not settings.key_path.exists()
    with database.read() as session:
        assert keys.authenticate(session, "sesame")


@pytest.mark.parametrize(
    ("host", "key", "fine"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, False),
        ("db.internal", None, False),
        ("0.0.0.0", "sesame", True),
    ],
)
def test_a_generated_key_is_for_this_machine_alone(tmp_path, host, key, fine):
    variables = {"HOME": str(tmp_path), "CHAINRULE_HOST": host, "CHAINRULE_API_KEY": key or ""}
    settings = Settings.from_env(variables)
    if fine:
        settings.check_exposure()
    else:
        with pytest.raises(ConfigError, match=f"CHAINRULE_API_KEY must be set to listen on {host}"):
            settings.check_exposure()
