"""A migration that is killed at any of its statements (F23): all of it is there, or none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.processes import clean_environment

# One process imports, and forks one to kill for each statement.
SCRIPT = """
import json, os, signal, sys
from sqlalchemy import Engine, event, inspect
from service.store import engines, migrate

url, undisturbed = sys.argv[1:]
COMMIT, STRIDE = 0, 7  # of a hundred statements one in seven: somebody waits for this test

def upgrade(die_at):
    if pid := os.fork():
        return os.waitpid(pid, 0)[1]
    reached = 0

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def count(*_):
        nonlocal reached
        reached += 1
        if reached == die_at:
            die()

    event.listen(Engine, "before_cursor_execute", count)
    if die_at == COMMIT:
        event.listen(Engine, "commit", die)
    migrate.upgrade(url)
    os._exit(0)

def schema(url):
    engine = engines.create(url)
    with engine.connect() as connection:
        found = inspect(connection)
        tables = {
            name: [sorted(c["name"] for c in found.get_columns(name)),
                   sorted(i["name"] for i in found.get_indexes(name))]
            for name in sorted(found.get_table_names())
        }
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    engine.dispose()
    return [version, tables]

migrate.upgrade(url, "0001")
migrate.upgrade(undisturbed)
before, kills, halves = schema(url), 0, []
at = COMMIT
while upgrade(at) == signal.SIGKILL:
    kills += 1
    if schema(url) != before:
        halves.append(at)
    at = at + STRIDE if at else 1
whole = schema(url) == schema(undisturbed) != before
json.dump({"kills": kills, "halves": halves, "whole": whole}, sys.stdout)
"""


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_migration_killed_at_any_statement_has_done_nothing_and_is_done_by_the_next(
    engine, tmp_path, request
):
    if engine == "sqlite":
        urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("killed", "undisturbed")]
    else:
        make = request.getfixturevalue("new_postgres")
        urls = [make(), make()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *urls],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["halves"], found["whole"]) == ([], True)
    assert found["kills"] > 5
