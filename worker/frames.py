"""Framed messages over a pipe: a JSON header and a binary payload, each preceded by its length.

Standard library only: the trainer, which knows nothing of the service, speaks it too.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import IO

    Buffer = bytes | bytearray | memoryview

__all__ = ["MAX_HEADER_BYTES", "MAX_PAYLOAD_BYTES", "Frame", "FrameError", "read", "write"]

LENGTHS = struct.Struct(">IQ")  # header, payload
MAX_HEADER_BYTES = 64 << 20  # a recipe carries every category of every column
MAX_PAYLOAD_BYTES = 16 << 30  # a checkpoint of the largest network: parameters and slots in float64
PIECE_BYTES = 1 << 20


class FrameError(Exception):
    """Bytes that are not a frame, or a stream that ends within one."""


@dataclass(frozen=True)
class Frame:
    """One message; ``header["kind"]`` says which."""

    header: dict[str, Any]
    payload: bytes = b""

    @property
    def kind(self) -> str:
        return str(self.header.get("kind", ""))


def write(stream: IO[bytes], header: dict[str, Any], payload: Buffer = b"") -> None:
    """Write one frame and flush it.  Raises: FrameError, if a part is over its limit."""
    head = json.dumps(header, separators=(",", ":")).encode()
    if len(head) > MAX_HEADER_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(f"a frame of {len(head)} + {len(payload)} bytes is over the limit")
    stream.write(LENGTHS.pack(len(head), len(payload)) + head)
    stream.write(payload)
    stream.flush()


def read(stream: IO[bytes], *, max_payload: int = MAX_PAYLOAD_BYTES) -> Frame | None:
    """Return the next frame, or None where the stream ends between frames.

    Raises: FrameError, if it ends within one, or what is there is none.
    """
    first = stream.read(1)
    if not first:
        return None
    n_header, n_payload = LENGTHS.unpack(first + _exactly(stream, LENGTHS.size - 1))
    if n_header > MAX_HEADER_BYTES or n_payload > max_payload:
        raise FrameError(f"a frame of {n_header} + {n_payload} bytes is over the limit")
    try:
        header = json.loads(_exactly(stream, n_header))
    except ValueError as error:
        raise FrameError(f"a header that is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise FrameError("a header that is not an object")
    return Frame(header, _exactly(stream, n_payload))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes, in pieces: a length that lies costs no memory."""
    if size <= PIECE_BYTES:
        data = stream.read(size)
    else:
        gathered = bytearray()
        while len(gathered) < size:
            piece = stream.read(min(PIECE_BYTES, size - len(gathered)))
            if not piece:
                break
            gathered += piece
        data = bytes(gathered)
    if len(data) < size:
        raise FrameError(f"the stream ends within a frame: {size - len(data)} bytes are missing")
    return data
