"""Checkpoints: all that a run needs to go on with the very same bits, as deterministic bytes."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.numpy import load, save

from chainrule.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.kernels import Array

__all__ = ["Checkpoint"]

_FORMAT = 1
_SLOT = "slots."
_KEPT = "kept."


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    ``parameters``, ``state``, the optimizer's ``slots`` and what is ``kept`` by options of the
    training (best weights, averages) are flat vectors. ``best`` is the record of the best epoch so
    far, ``loop`` that of the loop; both are plain JSON.
    """

    parameters: Array
    slots: Mapping[str, Array]
    state: Array
    best: Mapping[str, Any] = field(default_factory=dict)
    loop: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Array] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return a safetensors file: equal checkpoints give equal bytes.

        It has one metadata key, since safetensors writes several in random order.
        """
        tensors = {"parameters": self.parameters, "state": self.state}
        tensors |= {_SLOT + name: vector for name, vector in self.slots.items()}
        tensors |= {_KEPT + name: vector for name, vector in self.kept.items()}
        record = {
            "format": _FORMAT,
            "best": dict(self.best),
            "loop": dict(self.loop),
            "crc32": _checksum(tensors),
        }
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return bytes(save(tensors, metadata={"checkpoint": text}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """Read a checkpoint back.

        Raises: CheckpointError, if the bytes are not one, are cut short or have changed.
        """
        try:
            tensors: dict[str, Array] = load(data)
            size = int.from_bytes(data[:8], "little")
            record = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["checkpoint"])
            if record["format"] != _FORMAT:
                raise CheckpointError(f"checkpoint format {record['format']}, wanted {_FORMAT}")
            if record["crc32"] != _checksum(tensors):
                raise CheckpointError("the checkpoint's checksum does not match: it has changed")
            return cls(
                tensors["parameters"],
                _under(_SLOT, tensors),
                tensors["state"],
                record["best"],
                record["loop"],
                _under(_KEPT, tensors),
            )
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"not a checkpoint: {error!r}") from error


def _under(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors whose names start with a prefix, without it."""
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _checksum(tensors: Mapping[str, Array]) -> int:
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(tensors[name].data.cast("B"), zlib.crc32(name.encode(), checksum))
    return checksum
