"""The members of a zip archive, from its central directory, checked before a byte is unpacked.

``zipfile`` of Python 3.11.7 reads archives with overlapping members (CVE-2024-0450) and believes
the sizes it is told; here every size is bounded by the file before memory is taken.
Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.errors import DataError, Problem
from service.parsing.result import FILE, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

__all__ = ["Member", "members", "unpack"]

MAX_MEMBERS = 64
MAX_UNPACKED_BYTES = 16 << 30
MAX_RATIO = 100
_RATIO_FREE_BYTES = 16 << 20  # sorted labels and zeros pack well: small archives may
_BLOCK_BYTES = 1 << 20
_PACKED_BYTES = 1 << 16  # fed to the inflater at once: what it does not take, it copies

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_EXTRA = struct.Struct("<2H")
_FULL = 0xFFFFFFFF  # a field of 32 bits that is told elsewhere, in 64
_ZIP64 = 0x0001  # the extra field that tells it


@dataclass(frozen=True)
class Member:
    """A member whose packed bytes are ``data[start:start + packed]`` of the archive."""

    name: str
    deflated: bool
    crc: int
    start: int
    packed: int
    unpacked: int


def members(data: bytes | mmap) -> list[Member]:
    """Return what an archive holds, in its order.  Raises: DataError at ``file``."""
    count, directory, end = _find_directory(data)
    offset = directory
    found: list[Member] = []
    extents: list[tuple[int, int]] = []
    for _ in range(count):
        if offset + _ENTRY.size > end:
            raise _bad("its directory is cut short")
        fields = _ENTRY.unpack_from(data, offset)
        lengths = fields[10:13]
        name_end = offset + _ENTRY.size + lengths[0]
        name = data[offset + _ENTRY.size : name_end]
        entry = _widened(fields, data[name_end : name_end + lengths[1]], name)
        member = _member(data, entry, name)
        if member.name in {other.name for other in found}:
            raise _bad(f"{member.name!r} is in it twice")
        found.append(member)
        extents.append((entry[16], member.start + member.packed))
        offset += _ENTRY.size + sum(lengths)
    if offset != end:
        raise _bad("its directory does not add up")
    _check_extents(sorted(extents), directory)
    _check_sizes(found, len(data))
    return found


def unpack(data: bytes | mmap, member: Member) -> Iterator[bytes]:
    """Yield a member's bytes block by block, never more than it claims to have.

    Raises: DataError at ``file``, if its size or checksum is another one.
    """
    left, crc = member.unpacked, 0
    if member.deflated:
        blocks = _inflate(_slices(data, member, _PACKED_BYTES), left)
    else:
        blocks = _slices(data, member, _BLOCK_BYTES)
    for block in blocks:
        left -= len(block)
        if left < 0:
            break
        crc = zlib.crc32(block, crc)
        yield block
    if left or crc != member.crc:
        raise _bad(f"{member.name!r} is damaged")


def _slices(data: bytes | mmap, member: Member, size: int) -> Iterator[bytes]:
    stop = member.start + member.packed
    for start in range(member.start, stop, size):
        yield data[start : min(start + size, stop)]


def _inflate(packed: Iterator[bytes], unpacked: int) -> Iterator[bytes]:
    """Inflate, asking for one byte more than there should be, so that a liar is seen."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in packed:
            rest, wanted, block = piece, 1, b"."
            while not inflater.eof and (rest or len(block) == wanted):
                wanted = min(_BLOCK_BYTES, unpacked + 1)
                block = inflater.decompress(rest, wanted)
                rest = inflater.unconsumed_tail
                unpacked -= len(block)
                yield block
                if unpacked < 0:
                    return
    except zlib.error as error:
        raise _bad(f"a member does not unpack ({error})") from None


def _find_directory(data: bytes | mmap) -> tuple[int, int, int]:
    """Return the number of entries, and where the central directory starts and ends."""
    end = data.rfind(b"PK\5\6", max(0, len(data) - _END.size - 0xFFFF))
    if end < 0 or end + _END.size > len(data):
        what = "is cut short or no zip archive" if data[:2] == b"PK" else "is no zip archive"
        raise DataError.at(FILE, f"{what}: an NPZ file is what numpy.savez writes")
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(data, end)
    if end + _END.size + comment != len(data):
        raise _bad("its end record does not add up")
    if _FULL in (size, offset) or 0xFFFF in (count, here):
        end, disk, first_disk, here, count, size, offset = _end64(data, end)
    if disk or first_disk or here != count:
        raise _bad("its end record does not add up")
    if offset + size != end:
        raise _bad("its directory is not where it says")
    if count > MAX_MEMBERS:
        raise _bad(f"it has {count:,} members, at most {MAX_MEMBERS}")
    if not count:
        raise _bad("it is empty")
    return count, offset, end


def _end64(data: bytes | mmap, end: int) -> tuple[int, ...]:
    """Return where the end record of 64 bits begins, and what it says."""
    at = end - _LOCATOR.size
    if at < _END64.size or data[at : at + 4] != b"PK\6\7":
        raise _bad("its end record does not add up")
    _, disk, place, disks = _LOCATOR.unpack_from(data, at)
    if disk or disks > 1 or place != at - _END64.size or data[place : place + 4] != b"PK\6\6":
        raise _bad("its end record of zip64 is not where it says")
    record = _END64.unpack_from(data, place)
    if record[1] != _END64.size - 12:  # what follows its first two fields
        raise _bad("its end record of zip64 does not add up")
    return (place, *record[4:])


def _widened(entry: tuple[Any, ...], extra: bytes, raw_name: bytes) -> tuple[Any, ...]:
    """Return an entry with the sizes and the place that its extra field of zip64 tells."""
    wanted = [index for index in (9, 8, 16) if entry[index] == _FULL]
    at = 0
    while wanted and at + _EXTRA.size <= len(extra):
        kind, size = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _ZIP64 and size >= 8 * len(wanted) and at + size <= len(extra):
            told = struct.unpack_from(f"<{len(wanted)}Q", extra, at)
            found = dict(zip(wanted, told, strict=True))
            return tuple(found.get(index, value) for index, value in enumerate(entry))
        at += size
    if wanted:
        raise _bad(f"the entry of {_name(raw_name)!r} is not valid")
    return entry


def _member(data: bytes | mmap, entry: tuple[Any, ...], raw_name: bytes) -> Member:
    """Check one entry of the directory against the header in front of its data."""
    _, _, _, flags, method, _, _, crc, packed, unpacked = entry[:10]
    name = _name(raw_name)
    if entry[0] != b"PK\1\2":
        raise _bad(f"the entry of {name!r} is not valid")
    if flags & _ENCRYPTED:
        raise _bad(f"{name!r} is encrypted")
    if method not in (_STORED, _DEFLATED):
        raise _bad(f"{name!r} is packed by method {method}; numpy stores or deflates")
    if method == _STORED and packed != unpacked:
        raise _bad(f"the sizes of {name!r} do not add up")
    if entry[16] + _LOCAL.size > len(data):
        raise _bad(f"{name!r} lies outside the file")
    local = _LOCAL.unpack_from(data, entry[16])
    name_at = entry[16] + _LOCAL.size
    start = name_at + local[9] + local[10]
    same = local[0] == b"PK\3\4" and local[3] == method and not local[2] & _ENCRYPTED
    if not same or data[name_at : name_at + local[9]] != raw_name:
        raise _bad(f"the two headers of {name!r} differ")
    return Member(name, method == _DEFLATED, crc, start, packed, unpacked)


def _name(raw: bytes) -> str:
    """Return a member's name without ``.npy``: plain, and no path."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise _bad("a name in it is not UTF-8") from None
    stem = name.removesuffix(".npy")
    if stem == name or not stem or not name.isprintable() or any(c in name for c in "/\\:"):
        raise _bad(f"{name[:80]!r} is no array: names end in .npy and hold no path")
    check_name(stem, "an array")
    return stem


def _check_extents(extents: list[tuple[int, int]], directory: int) -> None:
    starts = [start for start, _ in extents[1:]] + [directory]
    if any(stop > start for (_, stop), start in zip(extents, starts, strict=True)):
        raise _bad("its members overlap")


def _check_sizes(found: list[Member], size: int) -> None:
    total = sum(member.unpacked for member in found)
    if total > MAX_UNPACKED_BYTES:
        raise _bad(f"it unpacks to {total:,} bytes, at most {MAX_UNPACKED_BYTES:,}")
    if total > max(_RATIO_FREE_BYTES, MAX_RATIO * size):
        raise _bad(f"it unpacks to {total / size:,.0f} times its size, at most {MAX_RATIO}")


def _bad(detail: str) -> DataError:
    return DataError(Problem(FILE, f"the archive cannot be read: {detail}"))
