"""A batch prediction in the trainer process, from the first block that is not committed."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule import bundle
from chainrule.errors import CheckpointError, DataError
from chainrule.mapping import open_tensors
from chainrule.recipe.reading import Reader
from chainrule.spec import summarize
from worker.trainer.table import Table

if TYPE_CHECKING:
    from worker.frames import Frame
    from worker.trainer.channel import Channel

__all__ = ["BadRowError", "Prediction"]

SLOWEST_FLOPS_PER_S = 1e9  # for the first block, of which nothing is known yet
PATIENCE = 20  # a silence is suspect only after so many times what a block takes


class BadRowError(Exception):
    """A row that cannot be predicted; the job fails for it."""

    def __init__(self, row: int, detail: str) -> None:
        self.row = row
        super().__init__(detail)


class Prediction:
    """The job of one ``predict`` message.  Blocks never depend on the attempt: equal bytes."""

    def __init__(self, channel: Channel, frame: Frame) -> None:
        header: dict[str, Any] = frame.header
        self._channel = channel
        self._model = bundle.load(frame.payload)
        if self._model.recipe is None:
            raise CheckpointError("the model has no recipe")
        self._tensors = open_tensors(Path(header["dataset"]))
        self._reader = Reader(self._model.recipe, header["schema"], self._tensors)
        self._table = Table(self._model, header["format"], self._reader.groups)
        self._block_rows: int = header["block_rows"]
        self._step: int = header["step"]

    def run(self) -> None:
        """Predict to the end, or until told to stop; report each block on the way."""
        channel, rows = self._channel, self._reader.rows
        flops = summarize(self._model.network.spec)["flops_per_sample"]
        quiet_s = PATIENCE * self._block_rows * flops / SLOWEST_FLOPS_PER_S
        channel.send("started", step=self._step, steps=rows, quiet_s=quiet_s)
        for start in range(self._step, rows, self._block_rows):
            begun_at = time.monotonic()
            stop = min(start + self._block_rows, rows)
            content, tensors = self._block(start, stop)
            channel.send("progress", quiet_s=PATIENCE * (time.monotonic() - begun_at))
            channel.wait_committed()  # at most one block is on its way while the next is made
            if channel.stop is not None:
                break
            streams = [content, *tensors]
            sizes = [len(one) for one in streams]
            channel.send_unit("unit", b"".join(streams), prev=start, step=stop, sizes=sizes)
        channel.wait_committed()
        if channel.stop is not None:
            channel.send("stopped", step=self._step)
        else:
            channel.send("done", columns=self._table.columns)

    def _block(self, start: int, stop: int) -> tuple[bytes, list[bytes]]:
        """Predict the rows from ``start`` to before ``stop``.  Raises: BadRowError."""
        network = self._model.network
        try:
            x = self._reader.read(self._tensors, start, stop, network.dtype.name)
            content, tensors = self._table.block(network.predict(x), start)
        except DataError as error:
            raise _counted_from(start, error) from None
        return (content if start else self._table.header(self._reader.rows) + content), tensors


def _counted_from(start: int, error: DataError) -> BadRowError:
    """Return a complaint about ``[3]`` or ``left[3]`` of a block with the row in the dataset."""
    path, detail = error.problems[0].path, error.problems[0].detail
    name, row = re.fullmatch(r"(.*)\[(\d+)\].*", path).groups()  # type: ignore[union-attr]
    number = start + int(row)
    return BadRowError(number, f"rows[{number}]{'.' + name if name else ''}: {detail}")
