"""The API, for tests that ask for it, and a database whose word gets lost."""

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from service.store import database as database_module
from tests.api_testing import api, parser

__all__ = ["api", "parser"]


@pytest.fixture
def lose_the_answer(monkeypatch):
    """Make a COMMIT to come go through and its answer get lost, as a cut connection does."""
    lost = []

    class Cut(Session):
        skip = -1

        def commit(self):
            super().commit()
            Cut.skip -= 1
            if Cut.skip == -1:
                lost.append(True)
                cut = ConnectionError("server closed the connection")
                raise DBAPIError("COMMIT", None, cut, connection_invalidated=True)

    monkeypatch.setattr(database_module, "Session", Cut)

    def arm(skip=0):
        Cut.skip = skip
        return lost

    return arm
