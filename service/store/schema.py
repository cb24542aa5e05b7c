"""Whether a database has the schema that this code works with, told without Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError

import migrations
from service.errors import IncompatibleError, UnavailableError

if TYPE_CHECKING:
    from service.store.database import Database

__all__ = ["check", "revisions"]


def revisions() -> list[str]:
    """Return the names of the schemas that this code knows, oldest first."""
    folder = Path(next(iter(migrations.__path__))) / "versions"
    return sorted(path.name.partition("_")[0] for path in folder.glob("[0-9]*_*.py"))


def check(database: Database) -> None:
    """Refuse a schema that is behind; a later one was made to work with this code.

    Raises: IncompatibleError; UnavailableError, if the database does not answer.
    """
    try:
        with database.read() as session:
            found = None
            if inspect(session.connection()).has_table("alembic_version"):
                found = session.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError as error:
        raise UnavailableError(f"the database does not answer: {type(error).__name__}") from error
    known = revisions()
    if found is None or (found in known and found != known[-1]):
        wanted = f"is at {found or 'nothing'}, this code needs {known[-1]}"
        raise IncompatibleError(f"the database's schema {wanted}: run `make migrate` first")
