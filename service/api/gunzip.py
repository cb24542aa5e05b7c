"""Bodies that came packed by gzip, unpacked piece by piece and never beyond what was agreed."""

from __future__ import annotations

import hashlib
import zlib
from typing import IO, TYPE_CHECKING

from chainrule.errors import DataError
from service.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAX_RATIO", "gunzip"]

MAX_RATIO = 100
RATIO_FREE_BYTES = 16 << 20  # sorted labels and zeros pack well: small files may
MAX_MEMBERS = 100_000  # bgzip writes one for each 64 KiB
PACKED_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20
_WRAPPED = 16 + zlib.MAX_WBITS  # zlib's word for gzip's head and checksum


def gunzip(packed: Path, into: IO[bytes], max_bytes: int) -> str:
    """Unpack a file, and return the SHA-256 of what it holds.

    Raises: TooLargeError, as soon as it is more than ``max_bytes``, or 100 times the file beyond
    16 MiB; DataError at ``file``, if it is no gzip file or a damaged one.
    """
    size, digest = 0, hashlib.sha256()
    fair = max(RATIO_FREE_BYTES, MAX_RATIO * packed.stat().st_size)
    with packed.open("rb") as file:
        for block in _blocks(file):
            size += len(block)
            if size > max_bytes:
                raise TooLargeError(f"the body unpacks to more than {max_bytes:,} bytes")
            if size > fair:
                raise TooLargeError(f"the body unpacks to more than {MAX_RATIO} times its size")
            digest.update(block)
            into.write(block)
    into.flush()
    return digest.hexdigest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what the members of a file hold, one after the other (RFC 1952, section 2.2)."""
    members, inflater = 1, zlib.decompressobj(_WRAPPED)
    try:
        while rest := file.read(PACKED_BYTES):
            while rest:
                if inflater.eof:
                    members, inflater = members + 1, zlib.decompressobj(_WRAPPED)
                    if members > MAX_MEMBERS:
                        raise DataError.at("file", f"has over {MAX_MEMBERS:,} gzip members")
                yield inflater.decompress(rest, BLOCK_BYTES)
                rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    except zlib.error as error:
        raise DataError.at("file", f"does not unpack ({error})") from None
    # What the inflater still holds back is less than a block: its input is used up.
    yield inflater.flush()
    if not inflater.eof:
        raise DataError.at("file", "is cut short: its gzip data does not end")
