"""The command that makes, lists and revokes keys."""

from __future__ import annotations

import json

import pytest

from service import keys
from service.actions.keys import authenticate


@pytest.fixture
def run(database, monkeypatch, capsys):
    monkeypatch.setenv("CHAINRULE_DATABASE_URL", database.url)

    def call(*arguments):
        code = keys.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_key_works_until_it_is_revoked(run, database):
    _, out, _ = run("--json", "create", "laptop")
    made = json.loads(out)
    with database.read() as session:
        assert authenticate(session, made["secret"]).key_id == made["id"]
    assert run("revoke", made["id"])[0] == 0
    with database.read() as session:
        assert authenticate(session, made["secret"]) is None


def test_a_list_never_shows_a_secret(run):
    _, out, _ = run("create", "laptop")
    secret = out.split()[-1]
    _, listed, _ = run("list")
    assert "laptop" in listed
    assert secret not in listed
    assert secret[:8] in listed


def test_revoking_what_is_not_there_is_an_error(run):
    code, _, err = run("revoke", "key_none")
    assert code == 3
    assert "key_none" in err


def test_a_wrong_command_is_a_usage_error(run):
    with pytest.raises(SystemExit) as caught:
        run("destroy")
    assert caught.value.code == 2
