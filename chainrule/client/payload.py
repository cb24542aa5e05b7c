"""What goes over the wire: files and arrays as uploads, rows as requests of a bounded size."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from chainrule.errors import ClientError, DataError, step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike

    from chainrule.spec import Document

__all__ = [
    "CONTENT_TYPES",
    "IDX_NAME",
    "content_type",
    "document",
    "named_pieces",
    "npz",
    "pieces",
    "table",
]

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".npz": "application/x-npz",
    ".npy": "application/x-npy",
    ".idx": "application/x-idx",
}
NPZ = CONTENT_TYPES[".npz"]
IDX_NAME = re.compile(r"[.-]idx\d?(-u?byte)?$")  # train-images-idx3-ubyte, labels.idx1, x.idx
MAX_PIECE_BYTES = 900_000  # the service takes JSON bodies of up to 1 MiB


def content_type(path: Path) -> str:
    """Return a file's media type by its suffix, before ``.gz`` if it is packed.

    Raises: ClientError, if it is none we know.
    """
    name = path.name.lower().removesuffix(".gz")
    suffix = ".idx" if IDX_NAME.search(name) else "." + name.rpartition(".")[2]
    try:
        return CONTENT_TYPES[suffix]
    except KeyError:
        known = ", ".join(CONTENT_TYPES)
        hint = f"must end in one of {known}, or that and .gz, to tell the format"
        raise ClientError(f"{path.name}: the name {hint}") from None


def format_of(media_type: str) -> str:
    """Return what the service calls the format of a media type."""
    suffix = next(suffix for suffix, media in CONTENT_TYPES.items() if media == media_type)
    return suffix.removeprefix(".")


def npz(arrays: Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike]) -> bytes:
    """Pack arrays as an NPZ file; a pair stands for ``inputs`` and ``targets``.

    The same arrays give the same bytes, so the service knows them again.
    """
    import numpy as np  # noqa: PLC0415 the client alone does not need it

    if not isinstance(arrays, Mapping) and not (isinstance(arrays, tuple) and len(arrays) == 2):
        got = type(arrays).__name__
        wanted = "a file, a DataFrame, {name: array} or (inputs, targets)"
        raise ClientError(f"must be {wanted}, got a {got}")
    named = arrays if isinstance(arrays, Mapping) else dict(zip(_PAIR, arrays, strict=True))
    packed: dict[str, np.ndarray[Any, Any]] = {k: np.asarray(v) for k, v in named.items()}
    for name, array in packed.items():
        if array.dtype.hasobject:
            detail = "must hold numbers, got Python objects (fill up sequences of unequal length)"
            raise DataError.at(name, detail)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **packed)
    return buffer.getvalue()


class Polars(Protocol):
    """What we use of a DataFrame of polars."""

    def write_parquet(self, file: Any, /) -> Any: ...


class Pandas(Protocol):
    """What we use of a DataFrame of pandas."""

    def to_csv(self, *, index: bool) -> Any: ...


def table(data: object) -> tuple[bytes, str] | None:
    """Return a DataFrame as a file and its media type; None, if it is none."""
    if (write_parquet := getattr(data, "write_parquet", None)) is not None:
        buffer = io.BytesIO()
        write_parquet(buffer)
        return buffer.getvalue(), CONTENT_TYPES[".parquet"]
    if (to_csv := getattr(data, "to_csv", None)) is not None:
        return str(to_csv(index=False)).encode(), CONTENT_TYPES[".csv"]
    return None


_PAIR = ("inputs", "targets")


def document(value: Document | Mapping[str, Any] | str) -> dict[str, Any]:
    """Return a specification as plain JSON, whether it came as a value, a mapping or JSON text."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        raise ClientError('must be an object such as {"layers": [...]}, got a list')
    if not isinstance(value, str):
        return value.render()
    try:
        loaded = json.loads(value)
    except ValueError as error:
        raise ClientError(f"not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise ClientError(f"must be a JSON object, got {value[:40]}")
    return loaded


def _plain(value: object) -> object:
    """Return numpy's numbers and arrays as Python's own.  Raises: TypeError, if it is neither."""
    to_list = getattr(value, "tolist", None)
    if to_list is None:
        raise TypeError(f"{type(value).__name__} is neither number, text nor list")
    return to_list()


def pieces(kind: str, rows: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    """Yield bodies ``{kind: [...]}`` that together hold all rows, none too large.

    Each comes with the number of its first row.

    Raises: DataError, at a row that is not plain JSON (a missing value is ``None``, not NaN).
    """
    head, tail = f'{{"{kind}":['.encode(), b"]}"
    held: list[bytes] = []
    size = start = 0
    for index, row in enumerate(rows):
        text = _encoded(row, f"{kind}[{index}]")
        if held and size + len(text) > MAX_PIECE_BYTES:
            yield start, head + b",".join(held) + tail
            held, size, start = [], 0, index
        held.append(text)
        size += len(text) + 1
    yield start, head + b",".join(held) + tail


def named_pieces(arrays: Mapping[str, Sequence[Any]]) -> Iterator[tuple[int, bytes]]:
    """Yield bodies ``{inputs: {name: [...]}}`` as ``pieces`` does, each with rows of every array.

    Raises: DataError, as ``pieces``, or if the arrays have not equally many rows.
    """
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise DataError.at("inputs", f"must have equally many rows, got {counts}")
    held: dict[str, list[bytes]] = {name: [] for name in arrays}
    size = start = 0
    for index, row in enumerate(zip(*arrays.values(), strict=True)):
        places = (f"inputs{step(name)}[{index}]" for name in arrays)
        texts = [_encoded(one, place) for one, place in zip(row, places, strict=True)]
        taken = sum(map(len, texts)) + len(texts)
        if index > start and size + taken > MAX_PIECE_BYTES:
            yield start, _named_body(held)
            held, size, start = {name: [] for name in arrays}, 0, index
        for rows, text in zip(held.values(), texts, strict=True):
            rows.append(text)
        size += taken
    yield start, _named_body(held)


def _named_body(held: Mapping[str, list[bytes]]) -> bytes:
    arrays = [json.dumps(n).encode() + b":[" + b",".join(rows) + b"]" for n, rows in held.items()]
    return b'{"inputs":{' + b",".join(arrays) + b"}}"


def _encoded(row: object, place: str) -> bytes:
    try:
        return json.dumps(row, allow_nan=False, default=_plain, separators=(",", ":")).encode()
    except TypeError as error:
        raise DataError.at(place, f"must be plain JSON: {error}") from error
    except ValueError as error:
        raise DataError.at(place, "must hold finite numbers (a missing value is None)") from error
