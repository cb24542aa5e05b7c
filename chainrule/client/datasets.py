"""Datasets as seen from outside, and what they share with jobs and models."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.errors import ApiError, ClientError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from chainrule.client.transport import Transport

__all__ = ["FIRST_POLL_S", "LONGEST_POLL_S", "PATIENCE_S", "Dataset", "Resource", "away"]

FIRST_POLL_S = 0.05
LONGEST_POLL_S = 1.0
PATIENCE_S = 60.0  # how long a wait outlives a service that is away


class Resource:
    """Something with an id; ``view`` is the service's JSON as last read."""

    collection = ""

    def __init__(self, transport: Transport, view: dict[str, Any]) -> None:
        self._transport = transport
        self.view = view

    @property
    def id(self) -> str:
        return str(self.view["id"])

    @property
    def path(self) -> str:
        """Where the service keeps it."""
        return f"/v1/{self.collection}/{self.id}"

    def _patiently(self, method: str, path: str) -> dict[str, Any]:
        """Make a call, also of a service that is away for up to a minute."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer: dict[str, Any] = self._transport.json(method, path)
            except (ApiError, UnreachableError) as error:
                if not away(error) or time.monotonic() > until:
                    raise
                time.sleep(LONGEST_POLL_S)
            else:
                return answer

    def delete(self) -> None:
        """Delete it.  Raises: ApiError 409, if it has not ended, or a live job needs it."""
        self._transport.request("DELETE", self.path)

    def __repr__(self) -> str:
        name = self.view.get("name")  # a model as its job knows it is but an id
        return " ".join([f"<{type(self).__name__}", self.id, *([repr(name)] if name else [])]) + ">"


class Dataset(Resource):
    """Rows to learn from, as uploaded."""

    collection = "datasets"

    @property
    def rows(self) -> int:
        """How many rows there are; 0 while it is not known."""
        return int(self.view["rows"] or 0)

    def preview(self, rows: int = 10) -> dict[str, Any]:
        """Return the first rows: ``rows`` of a table, or ``arrays`` with rows of each."""
        params = {"rows": str(rows)}
        answer: dict[str, Any] = self._transport.json("GET", f"{self.path}/preview", params=params)
        return answer

    def parse_again(self, types: Mapping[str, str] | None = None) -> Dataset:
        """Have the file parsed again, if that has failed, or with other types of its columns.

        Nothing is sent again; with other types it is another dataset. Return it once it is ready.
        Raises: as ``wait``.
        """
        given = {} if types is None else {"types": json.dumps(dict(types))}
        view = self._transport.json("POST", f"{self.path}/parse", params=given)
        return Dataset(self._transport, view).wait()

    def wait(
        self,
        on_progress: Callable[[float], object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Self:
        """Wait until a large file, which a job parses, can be used, and return the dataset.

        ``on_progress`` is called with the share that is parsed.
        Raises: ApiError 422, if the file cannot be read; TimeoutError; UnreachableError.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = FIRST_POLL_S
        while self.view["state"] == "parsing":
            if on_progress is not None:
                on_progress((self.view.get("progress") or {}).get("fraction", 0.0))
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{self.id} is still being parsed after {timeout_s} s")
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)
            self.view = self._patiently("GET", self.path)
        if self.view["state"] == "failed":
            raise ApiError(422, {"title": "the file cannot be read", **self.view["error"]})
        return self

    def download(self, path: str | Path) -> Path:
        """Save the file as it was uploaded, or as a prediction has made it; return its path.

        A directory gets a file named after the dataset. It appears only when whole.
        """
        target = Path(path)
        if target.is_dir():
            target /= f"{self.id}.{self.view['format']}"
        self._transport.request("GET", f"{self.path}/content", into=target)
        return target


def away(error: ClientError) -> bool:
    """Say whether the service, or its database, may be back soon."""
    return isinstance(error, UnreachableError) or getattr(error, "status", 0) >= 500
