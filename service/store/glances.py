"""Single rows by the driver alone, for the few reads that are asked all the time.

For a row by its key SQLAlchemy's execution takes several times as long as the database: 330 calls
of Python functions against 60.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from service.store import engines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Select

__all__ = ["Glances"]


class Glances:
    """Runs SELECTs outside of any transaction: one statement sees one snapshot by itself.

    The connections are its own, since they neither begin nor roll back: one round trip for a row.
    """

    def __init__(self, url: str) -> None:
        self._engine = engines.create(url, autocommit=True)
        self.errors: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        self._compiled: dict[Select[Any], tuple[str, dict[str, Any]]] = {}

    def row(self, statement: Select[Any], values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return the first row.  ``statement``: a constant of a module, compiled once for all.

        Its columns are numbers and text: no type of SQLAlchemy is applied.
        Raises: ``errors``, as the driver does; SQLAlchemyError, if there is no connection.
        """
        if statement not in self._compiled:
            compiled = statement.compile(self._engine)
            self._compiled[statement] = str(compiled), compiled.params
        sql, constants = self._compiled[statement]
        with closing(self._engine.raw_connection()) as connection:
            try:
                with closing(connection.cursor()) as cursor:
                    cursor.execute(sql, {**constants, **values})
                    return cursor.fetchone()
            except self.errors:
                connection.invalidate()
                raise

    def dispose(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()
