"""The trainer's end of the pipe: what it sends, and a thread that listens to its supervisor."""

from __future__ import annotations

import os
import threading
from typing import IO, TYPE_CHECKING, Any

from worker import frames
from worker.trainer import faults

if TYPE_CHECKING:
    from worker.frames import Frame

__all__ = ["Channel"]


class Channel:
    """Frames in and out.  ``stop`` holds the reason once the supervisor wants an end."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source = source
        self._sink = sink
        self._changed = threading.Condition()
        self._sent = self._committed = 0
        self.stop: str | None = None
        self.cost_s = 0.0

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        """Send one message."""
        faults.reach("say", kind)
        frames.write(self._sink, {"kind": kind, **fields}, payload)
        faults.reach("said", kind)

    def first(self) -> Frame:
        """Wait for the job; leave, if the supervisor does.  From then on a thread listens."""
        frame = frames.read(self._source)
        if frame is None:
            os._exit(0)
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        return frame

    def send_unit(self, kind: str, checkpoint: bytes, **fields: Any) -> None:
        """Send what the supervisor is to commit; until it has, ``busy`` is true."""
        self._sent += 1
        self.send(kind, checkpoint, **fields)

    @property
    def busy(self) -> bool:
        """Whether a unit is on its way to the database."""
        return self._committed < self._sent

    def wait_committed(self) -> None:
        """Wait until no unit is on its way, or the supervisor wants an end."""
        with self._changed:
            self._changed.wait_for(lambda: not self.busy or self.stop is not None)

    def _listen(self) -> None:
        try:
            while frame := frames.read(self._source):
                faults.reach("heard", frame.kind)
                with self._changed:
                    if frame.kind == "committed":
                        self._committed += 1
                        self.cost_s = float(frame.header["cost_s"])
                    elif frame.kind == "stop":
                        self.stop = str(frame.header["reason"])
                    self._changed.notify_all()
        finally:
            os._exit(1)  # nobody is there to train for
