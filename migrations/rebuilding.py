"""Changes of a table that SQLite can only make by making the table anew."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.operations import BatchOperations

__all__ = ["rebuilt"]

COUNTED = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))


@contextmanager
def rebuilt(table: str) -> Iterator[BatchOperations]:
    """Change a table that counts up: in place on PostgreSQL, into a new one on SQLite.

    Not for a table that has triggers, since they would be gone.  With foreign keys enforced, the
    end of the old table would be the end of all that refers to its rows: ``migrate`` has them off.
    Raises: RuntimeError, if they are not, or if a reference leads nowhere afterwards.
    """
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        with op.batch_alter_table(table) as batch:
            yield batch
        return
    enforced = connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
    a_row = sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)
    if enforced and connection.execute(a_row).first():
        raise RuntimeError(f"{table} cannot be made anew while foreign keys are enforced")
    counted = sa.select(COUNTED.c.seq).where(COUNTED.c.name == table)
    last = connection.execute(counted).scalar()
    kept = {"sqlite_autoincrement": True}
    with op.batch_alter_table(table, recreate="always", table_kwargs=kept) as batch:
        yield batch
    if last is not None:  # the numbers of rows that are gone are not given again
        connection.execute(COUNTED.delete().where(COUNTED.c.name == table))
        connection.execute(COUNTED.insert().values(name=table, seq=last))
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        raise RuntimeError(f"references that lead nowhere: {broken[:3]}")
