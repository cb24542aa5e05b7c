"""What the service keeps, as seen from outside: jobs and models, and datasets beside them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from chainrule.client.datasets import (
    FIRST_POLL_S,
    LONGEST_POLL_S,
    PATIENCE_S,
    Dataset,
    Resource,
    away,
)
from chainrule.client.payload import named_pieces, pieces
from chainrule.client.transport import retry_after_s
from chainrule.errors import ApiError, ClientError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from numpy.typing import ArrayLike


__all__ = ["FINAL_STATES", "Dataset", "Job", "Model"]

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
LONG_POLL_S = 20  # the service holds its answer back for this long
LONGEST_HOLD_S = 5  # of a job: what is seen of it also changes within an epoch
SUFFIXES = {"bundle": ".zip"}


class Model(Resource):
    """A trained network."""

    collection = "models"

    def download(self, path: str | Path, format: str = "bundle") -> Path:  # noqa: A002 the API's word
        """Save the model as ``bundle`` (zip), ``safetensors``, ``npz`` or ``onnx``.

        Returns its path. A directory gets a file named after the model. It appears only when whole.
        """
        target = Path(path)
        if target.is_dir():
            target /= self.id + SUFFIXES.get(format, f".{format}")
        where = f"{self.path}/download"
        self._transport.request("GET", where, params={"format": format}, into=target)
        return target

    def evaluation(self) -> dict[str, Any]:
        """Return how well the model has learnt; see ``Job.evaluation``."""
        answer: dict[str, Any] = self._transport.json("GET", f"{self.path}/evaluation")
        return answer

    def predict(
        self,
        rows: Sequence[Mapping[str, Any]] | ArrayLike | None = None,
        *,
        inputs: ArrayLike | Mapping[str, ArrayLike] | None = None,
    ) -> dict[str, Any]:
        """Predict raw rows as in the training file, or ``inputs`` arrays, as a bundle does.

        An array in the place of rows goes in as inputs. Several inputs are {array: values}, by the
        arrays' names in training. Returns ``predictions`` and, for classes, ``probabilities``: one
        per row, in order; of several outputs each is {output: ...}. Many rows are sent in several
        requests.
        """
        if (rows is None) == (inputs is None):
            raise ClientError("predict wants rows or inputs: one of them")
        if rows is not None and not _are_rows(rows):
            rows, inputs = None, cast("ArrayLike", rows)
        several = isinstance(inputs, Mapping)
        if isinstance(inputs, Mapping):
            bodies = named_pieces({name: _nested(values) for name, values in inputs.items()})
        elif rows is None:
            bodies = pieces("inputs", _nested(inputs))
        else:
            bodies = pieces("rows", cast("Sequence[Mapping[str, Any]]", rows))
        headers = {"Content-Type": "application/json"}
        merged: dict[str, Any] = {}
        for start, body in bodies:
            if start and _answered(merged) != start:  # one for each group of a window, or alone
                detail = "the rows of windows go in one request, these are too many for it"
                raise ClientError(f"{detail}: upload them, and use predict_dataset")
            try:
                answer = self._transport.json(
                    "POST", f"{self.path}/predict", content=body, headers=headers, pure=True
                )
            except ApiError as error:
                raise _counted_from(start, error, 2 + several) from None
            for name, value in answer.items():
                if name in {"predictions", "probabilities"} and name in merged:
                    _extend(merged[name], value)
                else:
                    merged[name] = value
        return merged

    def predict_dataset(
        self,
        dataset: Dataset | str,
        format: str = "csv",  # noqa: A002 the API's word
        *,
        name: str | None = None,
    ) -> Job:
        """Queue a prediction of all rows of a dataset (or of its id), and return at once.

        Its result (see ``Job.result``) is a dataset of the format ``csv``, ``ndjson``, ``npy`` or
        ``parquet``.
        Raises: ApiError 422, naming each column or array that the model cannot read.
        """
        request = {"dataset_id": getattr(dataset, "id", dataset), "format": format}
        if name is not None:
            request["name"] = name
        answer = self._transport.json("POST", f"{self.path}/predictions", json=request)
        return Job(self._transport, answer)


class Job(Resource):
    """A training run, a batch prediction, or the parsing of a large file.

    ``view`` is the service's JSON as last read; ``refresh`` reads it anew.
    """

    collection = "jobs"
    _etag = ""

    @property
    def state(self) -> str:
        """``queued``, ``running``, ``paused``, ``succeeded``, ``failed`` or ``cancelled``."""
        return str(self.view["state"])

    @property
    def done(self) -> bool:
        """Whether the state is final."""
        return self.state in FINAL_STATES

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}: {self.summary()}, {self.progress()}>"

    def progress(self) -> str:
        """Return how far it is in words: in epochs, a prediction in rows."""
        progress = self.view["progress"]
        if self.view.get("kind") == "parsing":
            return f"parsed {progress['fraction']:.0%}"
        if self.view.get("kind") == "prediction":
            return f"row {progress['row']:,}/{progress['rows']:,}"
        return f"epoch {progress['epoch']}/{progress['epochs']}"

    def refresh(self) -> Self:
        """Read the job anew; an unchanged job costs an empty answer."""
        self._poll()
        return self

    def wait(
        self,
        on_progress: Callable[[Job], object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Self:
        """Wait until the job has ended, however it ends, and return it.

        ``on_progress`` is called with the job at once and whenever it has changed. A service that
        is away for up to a minute (a restart) does not end the wait.
        Raises: TimeoutError, after ``timeout_s``; UnreachableError.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        heard_at = time.monotonic()
        pause_s, asked_s = FIRST_POLL_S, 0.0
        changed = held = True
        while True:
            if changed and on_progress is not None:
                on_progress(self)
            if self.done:
                return self
            left_s = LONGEST_HOLD_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"{self.id} is {self.state} after {timeout_s} s")
            pause_s = FIRST_POLL_S if changed or held else min(1.5 * pause_s, LONGEST_POLL_S)
            time.sleep(max(min(pause_s, left_s), asked_s))
            try:
                changed, held, asked_s = self._poll(int(min(left_s, LONGEST_HOLD_S)))
                heard_at = time.monotonic()
            except (ApiError, UnreachableError) as error:
                changed = held = False
                if not away(error) or time.monotonic() - heard_at > PATIENCE_S:
                    raise

    def cancel(self) -> Self:
        """Ask the job to stop; its last checkpoint is kept."""
        return self._ask("cancel")

    def pause(self) -> Self:
        """Ask the job to wait; it keeps what it has learnt.  Raises: ApiError 409, if it ended."""
        return self._ask("pause")

    def resume(self) -> Self:
        """Let a paused job go on.  Raises: ApiError 409, if it ended or has not paused yet."""
        return self._ask("resume")

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield each change of the job's state as it comes, until it has ended.

        None is missed, whatever fails in between; with ``after``, the ``id`` of an event, those
        that came later. A service that is away for up to a minute does not end it.
        Raises: UnreachableError; ApiError 404, if the job is deleted.
        """
        heard_at = time.monotonic()
        while True:
            params = {"after": str(after), "wait": str(LONG_POLL_S)}
            try:
                response = self._transport.request("GET", f"{self.path}/events", params=params)
            except (ApiError, UnreachableError) as error:
                if not away(error) or time.monotonic() - heard_at > PATIENCE_S:
                    raise
                time.sleep(LONGEST_POLL_S)
                continue
            heard_at, answer = time.monotonic(), self._transport.decode(response)
            yield from answer["items"]
            if answer["ended"]:
                return
            after = int(answer["next"])
            time.sleep(retry_after_s(response.headers))

    def metrics(self) -> list[dict[str, Any]]:
        """Return one row per completed epoch."""
        answer = self._transport.json("GET", f"{self.path}/metrics")
        return list(answer["items"])

    def certificate(self) -> dict[str, Any]:
        """Return how the job's gradients compare with central differences, layer by layer.

        Raises: ApiError 404, before the job has begun.
        """
        answer: dict[str, Any] = self._transport.json("GET", f"{self.path}/certificate")
        return answer

    def evaluation(self) -> dict[str, Any]:
        """Return how well the network has learnt, beside null models; see docs/evaluation.md.

        Raises: ApiError 404, before the job has succeeded.
        """
        answer: dict[str, Any] = self._transport.json("GET", f"{self.path}/evaluation")
        return answer

    def model(self) -> Model:
        """Return what the job has trained.  Raises: ClientError, if there is none (yet)."""
        if not self.view.get("model_id"):
            self.refresh()
        if not self.view.get("model_id"):
            raise ClientError(f"{self.id} has no model: {self.summary()}")
        return Model(self._transport, {"id": self.view["model_id"]})

    def result(self) -> Dataset:
        """Return the dataset that a batch prediction has made.

        Raises: ClientError, if there is none (yet).
        """
        if not self.view.get("result"):
            self.refresh()
        if not self.view.get("result"):
            raise ClientError(f"{self.id} has no result: {self.summary()}")
        where = f"/v1/{Dataset.collection}/{self.view['result']['dataset_id']}"
        return Dataset(self._transport, self._transport.json("GET", where))

    def summary(self) -> str:
        """Return the state in words, with the reason if the job has failed."""
        error = self.view.get("error")
        if not error:
            return self.state
        told = f"{self.state}, {error.get('code', 'internal')}: {error.get('detail', 'no detail')}"
        if error.get("code") != "diverged" or not error.get("epoch"):
            return told
        where = f"in epoch {error['epoch']}, step {error['step']}"
        return f"{told} {where} (a lower learning_rate, or clip, may help)"

    def download(self, path: str | Path, format: str = "bundle") -> Path:  # noqa: A002 the API's word
        """Save the trained model; see ``Model.download``."""
        return self.model().download(path, format)

    def predict(
        self,
        rows: Sequence[Mapping[str, Any]] | ArrayLike | None = None,
        *,
        inputs: ArrayLike | Mapping[str, ArrayLike] | None = None,
    ) -> dict[str, Any]:
        """Predict with the trained model; see ``Model.predict``."""
        return self.model().predict(rows, inputs=inputs)

    def _ask(self, what: str) -> Self:
        answer = self._transport.json("POST", f"{self.path}/{what}")
        self.view = answer if answer.get("id") == self.id else self.view
        self._etag = ""
        return self

    def _poll(self, hold_s: int = 0) -> tuple[bool, bool, float]:
        """Read the job, also if the service is to hold the answer back until it changes.

        Returns: whether it has changed, whether the answer was held back until then or for as long
        as asked, and how long the service asks to wait before the next (s).
        """
        headers = {"If-None-Match": self._etag} if self._etag else {}
        if self._etag and hold_s:  # the service must know what there is news of
            headers["Prefer"] = f"wait={hold_s}"
        response = self._transport.request("GET", self.path, headers=headers)
        asked_s = retry_after_s(response.headers)
        held = "preference-applied" in response.headers and not asked_s
        if response.status_code == 304:
            return False, held, asked_s
        view = self._transport.decode(response)
        changed = view != self.view
        self.view, self._etag = view, response.headers.get("etag", "")
        return changed, held, asked_s


def _are_rows(rows: Any) -> bool:
    """Tell rows of a table, objects, from an array."""
    if isinstance(rows, Mapping):
        raise ClientError("predict wants a list of rows, got one: put it in brackets")
    return isinstance(rows, list | tuple) and (not rows or isinstance(rows[0], Mapping))


def _answered(answer: Mapping[str, Any]) -> int:
    """Count the predictions of an answer."""
    predictions = answer["predictions"]
    if isinstance(predictions, dict):
        predictions = next(iter(predictions.values()))
    return len(predictions)


def _extend(rows: Any, more: Any) -> None:
    """Add the predictions of more rows, those of several outputs by name."""
    if isinstance(rows, dict):
        for output, values in more.items():
            rows[output].extend(values)
    else:
        rows.extend(more)


def _counted_from(start: int, error: ApiError, depth: int) -> ApiError:
    """Return an error about a later piece of the rows with the places in the whole.

    ``depth`` is where a pointer has the row: after the array's name, if there are several.
    """
    if not start:
        return error

    def shifted(place: dict[str, Any]) -> dict[str, Any]:
        steps = str(place.get("pointer", "")).split("/")
        if len(steps) <= depth or not steps[depth].isdecimal():
            return place
        steps[depth] = str(int(steps[depth]) + start)
        return {**place, "pointer": "/".join(steps)}

    places = [shifted(place) for place in error.problem.get("errors", ())]
    detail = f"in the rows from number {start:,} on"
    return ApiError(error.status, {**error.problem, "errors": places, "detail": detail})


def _nested(inputs: Any) -> list[Any]:
    nested = inputs.tolist() if hasattr(inputs, "tolist") else inputs
    if not isinstance(nested, list | tuple):
        raise ClientError(f"inputs must hold one entry per row, got {type(inputs).__name__}")
    return list(nested)
