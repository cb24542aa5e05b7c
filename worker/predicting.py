"""An attempt at a batch prediction: blocks of rows in the place of units, a dataset at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.actions.results import assemble
from service.store import blobs, transitions
from worker.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.store.blobs import StagedBlob
    from service.store.database import UnitOfWork
    from service.store.transitions import NewDataset, Signals
    from worker.frames import Frame

__all__ = ["PredictionAttempt"]


class PredictionAttempt(Attempt):
    """Commits each block's part of the result (T4), and delivers the whole (T5)."""

    message = "predict"

    def _on_unit(self, frame: Frame) -> None:
        header = frame.header
        prev, step = int(header["prev"]), int(header["step"])
        pieces = list(_split(frame.payload, header["sizes"]))

        def commit(uow: UnitOfWork, streams: list[StagedBlob]) -> Signals | None:  # T4
            return transitions.commit_part(
                uow.session, *self._key, prev=prev, step=step, streams=streams
            )

        self._committed(
            step,
            lambda: [blobs.stage(self._database, self._beating(piece)) for piece in pieces],
            commit,
        )

    def _on_done(self, frame: Frame) -> None:
        config: dict[str, Any] = self._claim.config

        def make() -> NewDataset:
            return assemble(
                self._database,
                self._claim.job_id,
                frame.header["columns"],
                name=config["name"],
                format=config["format"],
                rows=self._claim.steps,
                beat=self._beat,
            )

        def deliver(uow: UnitOfWork, dataset: NewDataset) -> bool:  # T5
            return transitions.deliver(uow.session, *self._key, dataset)

        self._deliver(make, deliver)


def _split(payload: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Cut a payload into its streams.  Raises: ValueError, if it is of another size."""
    if sum(sizes) != len(payload):
        raise ValueError(f"{len(payload)} bytes are not the {sum(sizes)} that were announced")
    start = 0
    for size in sizes:
        yield payload[start : start + size]
        start += size
