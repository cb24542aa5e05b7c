"""The keys that an application remembers for a second."""

from __future__ import annotations

import pytest

from service.actions import keyring, keys
from service.actions.keyring import REMEMBERED_S, Keyring


class Clock:
    """Time that passes when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def make(database, name="laptop", tenant="default"):
    return database.transact(lambda uow: keys.create(uow, name, tenant))


def revoke(database, key):
    database.transact(lambda uow: keys.revoke(uow, key.tenant_id, key.id))


def test_a_revoked_key_works_for_one_more_second_at_most(database, clock):
    known = Keyring(database, clock=clock)
    key, secret = make(database)
    assert known.authenticate(secret) == keys.Principal("default", key.id)
    revoke(database, key)
    clock.now = REMEMBERED_S / 2
    assert known.authenticate(secret)  # and this does not make the second longer
    clock.now = REMEMBERED_S
    assert known.authenticate(secret) is None
    clock.now = 0.0
    assert known.authenticate(secret) is None  # it was forgotten, not hidden


def test_a_second_is_counted_from_before_the_database_was_asked(database, clock, monkeypatch):
    key, secret = make(database)
    real = keys.authenticate

    def slow(session, text):
        principal = real(session, text)
        clock.now += 10.0
        return principal

    monkeypatch.setattr(keys, "authenticate", slow)
    known = Keyring(database, clock=clock)
    assert known.authenticate(secret).key_id == key.id
    revoke(database, key)
    assert known.authenticate(secret) is None


def test_a_new_key_works_at_once_and_what_is_none_is_asked_about_each_time(database, clock):
    known = Keyring(database, clock=clock)
    secret = keys.new_secret()
    assert known.authenticate(secret) is None
    database.transact(lambda uow: keys.register(uow, secret, "late"))
    assert known.authenticate(secret)


def test_a_key_stands_for_its_own_tenant_only(database, clock):
    known = Keyring(database, clock=clock)
    made = [make(database, tenant=tenant) for tenant in ("default", "other")]
    for _ in range(2):
        for (key, secret), tenant in zip(made, ("default", "other"), strict=True):
            assert known.authenticate(secret) == keys.Principal(tenant, key.id)
            assert known.authenticate(secret[:-1]) is None
            assert known.authenticate(secret + " ") is None


def test_two_keyrings_know_nothing_of_each_other(database, clock):
    first, second = (Keyring(database, clock=clock) for _ in range(2))
    key, secret = make(database)
    assert first.authenticate(secret)
    revoke(database, key)
    assert second.authenticate(secret) is None
    assert first.authenticate(secret)


def test_only_so_many_keys_are_remembered_the_latest_ones(database, clock, monkeypatch):
    monkeypatch.setattr(keyring, "MOST", 2)
    known = Keyring(database, clock=clock)
    made = [make(database) for _ in range(3)]
    for _, secret in made:
        assert known.authenticate(secret)
    for key, _ in made:
        revoke(database, key)
    assert [bool(known.authenticate(secret)) for _, secret in made] == [False, True, True]
