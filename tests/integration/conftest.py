from contextlib import ExitStack

import pytest

from service.store.database import Database


@pytest.fixture
def open_database():
    """Open stores, which are closed at the end of the test."""
    with ExitStack() as stack:

        def make(url):
            database = Database(url)
            stack.callback(database.dispose)
            return database

        yield make
