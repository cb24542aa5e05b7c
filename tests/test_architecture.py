"""The shape of the code, and of the database: what nobody should have to remember."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from chainrule.config import Reader
from migrations.triggers import TRIGGERS
from service.errors import IncompatibleError
from service.settings import Settings
from service.store import engines, migrate
from service.store.database import Database
from service.store.tables import Base

ROOT = Path(__file__).parent.parent
PACKAGES = ("chainrule", "service", "worker", "migrations")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 400


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short_and_says_what_it_is_for(path):
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_modules_public_names_are_there_and_sorted(path):
    tree = ast.parse(path.read_text())
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__all__"]
    ]
    for found in lists:
        names = ast.literal_eval(found)
        constants = [n for n in names if n.isupper()]
        classes = [n for n in names if not n.isupper() and n[:1].isupper()]
        others = [n for n in names if n[:1].islower()]
        assert names == sorted(constants) + sorted(classes) + sorted(others)  # as ruff sorts
        assert len(set(names)) == len(names)
        dotted = name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = importlib.import_module(dotted)
        assert [n for n in names if not hasattr(module, n)] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_two_modules_read_the_environment(path):
    reads = re.search(r"\bos\.environ\b|\bgetenv\b", path.read_text())
    assert not reads or name(path) in ("chainrule/config.py", "service/settings.py")


def test_every_setting_is_a_documented_variable():
    asked = []

    class Asking(dict):
        def get(self, key, default=None):
            asked.append(key)
            return default

    Settings.read(Reader(Asking()))
    ours = {key for key in asked if key.startswith("CHAINRULE_")}
    docs = "".join(p.read_text() for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    assert ours
    assert sorted(key for key in ours if key not in docs) == []


def test_models_are_what_the_migrations_make(database):
    options = {"compare_type": True, "compare_server_default": True}
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_triggers_are_there(database):
    listing = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    }[database.engine.dialect.name]
    with database.read() as session:
        assert set(session.scalars(text(listing))) == set(TRIGGERS)


def test_the_checks_are_there_under_their_names(database):
    wanted = {
        str(constraint.name)
        for table in Base.metadata.sorted_tables
        for constraint in table.constraints
        if str(constraint.name).startswith("ck_")
    }
    listing = {
        "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'table'",
        "postgresql": "SELECT conname FROM pg_constraint WHERE contype = 'c'",
    }[database.engine.dialect.name]
    with database.read() as session:
        found = " ".join(session.scalars(text(listing)))
    assert len(wanted) == 8
    assert [name for name in wanted if name not in found] == []


def test_every_revision_can_be_undone(sqlite_url, new_postgres):
    for url in (sqlite_url, new_postgres()):
        migrate.upgrade(url)
        engine = engines.create(url)
        with engines.writer(engine).begin() as connection:
            command.downgrade(migrate.alembic_config(connection), "base")
        with engine.connect() as connection:
            inspected = MigrationContext.configure(connection)
            assert inspected.get_current_revision() is None
            left = compare_metadata(inspected, Base.metadata)
        assert {change[0] for change in left} <= {"add_table", "add_index"}
        migrate.upgrade(url)
        engine.dispose()


def test_the_jobs_of_the_version_before_have_no_certificate_and_keep_their_triggers(
    tmp_path, new_postgres
):
    old = dict.fromkeys(("seq", "steps", "epochs", "memory_bytes", "created_at"), 1)
    old |= dict.fromkeys(("id", "tenant_id", "name", "config", "recipe"), "'{}'")
    insert = f"INSERT INTO jobs ({', '.join(old)}, state, ended_at) "
    insert += f"VALUES ({', '.join(map(str, old.values()))}, 'failed', 1)"
    for url in (f"sqlite:///{tmp_path}/old.db", new_postgres()):
        migrate.upgrade(url, "0001")
        engine = engines.create(url)
        with engines.writer(engine).begin() as connection:
            connection.execute(text(insert))
        migrate.upgrade(url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT certificate FROM jobs")).all() == [(None,)]
        with (
            pytest.raises(IntegrityError, match="a final state never changes"),
            engines.writer(engine).begin() as connection,
        ):
            connection.execute(text("UPDATE jobs SET state = 'queued'"))
        engine.dispose()


def test_two_processes_that_migrate_at_once_both_find_it_done(tmp_path, new_postgres):
    import subprocess
    import sys

    for url in (f"sqlite:///{tmp_path}/new.db", new_postgres()):
        command = [sys.executable, "-m", "service.store.migrate"]
        environment = {"CHAINRULE_DATABASE_URL": url, "HOME": str(tmp_path)}
        processes = [
            subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
            for _ in range(3)
        ]
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, b"")
        database = Database(url)
        database.ping()
        database.dispose()


def test_a_database_of_a_later_version_is_refused(database, database_url):
    def pretend(uow, revision):
        values = {"revision": revision}
        uow.session.execute(text("UPDATE alembic_version SET version_num = :revision"), values)

    with database.read() as session:
        current = session.scalar(text("SELECT version_num FROM alembic_version"))
    database.transact(lambda uow: pretend(uow, "9999"))
    try:
        with pytest.raises(IncompatibleError, match="schema is not one of ours"):
            migrate.upgrade(database_url)
    finally:
        database.transact(lambda uow: pretend(uow, current))
