"""The API, for tests that ask for it."""

from tests.api_testing import api, parser

__all__ = ["api", "parser"]
