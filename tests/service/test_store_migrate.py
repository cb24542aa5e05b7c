"""Migrating a database that is not there yet."""

from sqlalchemy import make_url

from service.store import migrate
from service.store.database import Database
from tests.processes import process
from tests.proxy import CommitProxy
from tests.services import free_port
from tests.waiting import eventually


def test_a_database_that_is_about_to_start_is_waited_for(new_postgres, tmp_path):
    address, port, log = make_url(new_postgres()), free_port(), tmp_path / "log"
    there = address.set(host="127.0.0.1", port=port)
    url = there.render_as_string(hide_password=False)
    with process("service.store.migrate", log=log, DATABASE_URL=url) as running:
        eventually(lambda: "waiting for the database: " in log.read_text())
        assert running.poll() is None
        proxy = CommitProxy(address.host, address.port or 5432, at=port)
        try:
            assert running.wait(60) == 0, log.read_text()
        finally:
            proxy.close()
    migrated = Database(address.render_as_string(hide_password=False))
    with migrated.read() as session:
        assert session.connection().dialect.has_table(session.connection(), "jobs")
    migrated.dispose()


def test_a_database_that_does_not_come_is_told_of_at_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHAINRULE_DATABASE_URL", f"postgresql://u@127.0.0.1:{free_port()}/d")
    monkeypatch.setattr(migrate, "WAIT_S", 0.0)
    assert migrate.main() == 1
    assert "the database does not answer" in capsys.readouterr().err
