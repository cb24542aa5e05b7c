"""A worker that is newer than its database's schema (F22)."""

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from service.errors import IncompatibleError
from service.store import engines, migrate, schema
from service.store.database import Database
from service.store.tables import Worker
from tests.processes import process
from tests.waiting import eventually


def test_a_worker_says_that_the_schema_is_behind_and_begins_once_it_is_not(tmp_path):
    url = f"sqlite:///{tmp_path}/old.db"
    migrate.upgrade(url, schema.revisions()[-2])
    database, log = Database(url), tmp_path / "log"
    with process("worker", log=log, DATA_DIR=tmp_path, DATABASE_URL=url, TRAINERS=1) as worker:
        eventually(lambda: "run `make migrate` first" in log.read_text())
        assert count(database) == 0
        migrate.upgrade(url)
        eventually(lambda: count(database) == 1)
        assert worker.poll() is None
    database.dispose()
    assert log.read_text().count("make migrate") == 1, "told once, not every second"
    assert "Traceback" not in log.read_text()


def count(database):
    with database.read() as session:
        return session.query(Worker).count()


def test_the_newest_revision_is_the_one_that_migrations_end_with(sqlite_url):
    engine = engines.create(sqlite_url)
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(migrate.alembic_config(connection))
    engine.dispose()
    known = [script.revision for script in scripts.walk_revisions()]
    assert schema.revisions() == sorted(known)
    assert scripts.get_heads() == [schema.revisions()[-1]]


def test_a_schema_of_a_later_version_is_taken_and_none_at_all_is_not(sqlite_url, tmp_path):
    later, empty = Database(sqlite_url), Database(f"sqlite:///{tmp_path}/empty.db")
    update = text("UPDATE alembic_version SET version_num = '9999'")
    later.transact(lambda uow: uow.session.execute(update))
    schema.check(later)
    with pytest.raises(IncompatibleError, match="is at nothing"):
        schema.check(empty)
    later.dispose()
    empty.dispose()
