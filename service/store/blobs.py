"""Bytes under their hash: staged in short transactions, then referenced in one small one.

Equal jobs share chunks, and one may delete a chunk while another is about to refer to it. The
foreign keys then refuse the reference, and ``attached`` stages the bytes again.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import CursorResult, Select, Table, bindparam, delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from service import faults
from service.errors import CorruptError
from service.store.tables import (
    FINAL,
    Blob,
    BlobChunk,
    Checkpoint,
    Chunk,
    Dataset,
    Job,
    Model,
    Part,
    UploadPart,
    WarmStart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

    from service.store.database import Database, UnitOfWork

__all__ = [
    "ATTEMPTS",
    "CHUNK_BYTES",
    "StagedBlob",
    "Window",
    "attach",
    "attached",
    "chunks",
    "collect",
    "discard",
    "insert_new",
    "read",
    "stage",
    "stream",
    "stream_staged",
    "stream_within",
]

S = TypeVar("S")
T = TypeVar("T")
CHUNK_BYTES = 2**20
GROUP = 4  # chunks of a transaction: each commit waits for the disk, each thread keeps their room
FRESH_S = 600.0  # a chunk staged within this is not touched again
ATTEMPTS = 5


@dataclass(frozen=True)
class StagedBlob:
    """Bytes whose chunks are in the database, though nothing may refer to them yet."""

    sha256: str
    bytes: int
    chunks: tuple[str, ...]


def stage(database: Database, data: bytes | Iterable[bytes]) -> StagedBlob:
    """Store the chunks of some bytes, a few at a time in short transactions."""
    whole, total, names = hashlib.sha256(), 0, list[str]()
    pieces = _pieces(data)
    while group := [*islice(pieces, GROUP)]:
        for piece in group:
            whole.update(piece)
            total += len(piece)
        hashed = [(hashlib.sha256(piece).hexdigest(), piece) for piece in group]
        names += [name for name, _ in hashed]
        database.transact(partial(_stage_chunks, dict(hashed)))
    return StagedBlob(whole.hexdigest(), total, tuple(names))


def attach(session: Session, staged: StagedBlob) -> None:
    """Make staged bytes a blob that rows may refer to.

    Raises: IntegrityError, if a chunk is gone: stage again.
    """
    faults.reach("attach")
    insert_new(session, Blob, [{"sha256": staged.sha256, "bytes": staged.bytes}])
    insert_new(
        session,
        BlobChunk,
        [
            {"blob": staged.sha256, "position": position, "chunk": chunk}
            for position, chunk in enumerate(staged.chunks)
        ],
    )


def attached(database: Database, make: Callable[[], S], act: Callable[[UnitOfWork, S], T]) -> T:
    """Run a unit of work on what ``make`` staged, and both again if a chunk went in between."""
    attempt = 0
    while True:
        staged, attempt = make(), attempt + 1
        try:
            return database.transact(lambda uow, staged=staged: act(uow, staged))  # type: ignore[misc]
        except IntegrityError:
            if attempt == ATTEMPTS:
                raise


def read(session: Session, sha256: str) -> bytes:
    """Return a blob's bytes.  Raises: CorruptError, if they are not those that were written."""
    recorded = session.scalar(select(Blob.bytes).where(Blob.sha256 == sha256))
    chunks = session.scalars(
        select(Chunk.data)
        .join(BlobChunk, BlobChunk.chunk == Chunk.sha256)
        .where(BlobChunk.blob == sha256)
        .order_by(BlobChunk.position)
        .execution_options(yield_per=8)
    )
    data = b"".join(chunks)
    if recorded != len(data) or hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptError(f"blob {sha256[:12]}…: the stored bytes are not those that were written")
    return data


def stream(database: Database, sha256: str) -> Iterator[bytes]:
    """Yield a blob chunk by chunk, each read by itself: no snapshot is held, no whole in memory.

    Raises: CorruptError, at the first chunk that is not what was written.
    """
    return _stream(_snapshots(database), sha256)


def stream_within(session: Session, sha256: str) -> Iterator[bytes]:
    """Yield a blob chunk by chunk, as a session that is open anyway sees it.  Raises: as above."""
    return _stream(lambda act: act(session), sha256)


def stream_staged(database: Database, staged: StagedBlob) -> Iterator[bytes]:
    """Yield staged bytes as ``stream`` does, whether or not anything refers to them yet."""
    return _stream(_snapshots(database), staged.sha256, staged.chunks)


def _snapshots(database: Database) -> Callable[[Callable[[Session], T]], T]:
    """Return what gives each act a session of its own."""

    def read(act: Callable[[Session], T]) -> T:
        with database.read() as session:
            return act(session)

    return read


def _stream(
    read: Callable[[Callable[[Session], Any]], Any],
    sha256: str,
    names: Sequence[str] | None = None,
) -> Iterator[bytes]:
    if names is None:
        names = read(lambda session: chunks(session, sha256))
    whole = hashlib.sha256()
    for name in names or ():
        wanted = select(Chunk.data).where(Chunk.sha256 == name)
        data: bytes | None = read(lambda session, wanted=wanted: session.scalar(wanted))  # type: ignore[misc]
        if data is None or hashlib.sha256(data).hexdigest() != name:
            raise CorruptError(f"chunk {name[:12]}…: the stored bytes are not those written")
        whole.update(data)
        yield data
    if whole.hexdigest() != sha256:
        raise CorruptError(f"blob {sha256[:12]}…: the stored bytes are not those that were written")


class Window:
    """Parts of a blob that was staged as a whole, read without the rest of it."""

    def __init__(self, session: Session, sha256: str) -> None:
        self._session = session
        self._sha256 = sha256
        self._position, self._data = -1, b""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` up to ``stop``.  Raises: CorruptError."""
        found = bytearray()
        for position in range(start // CHUNK_BYTES, -(-stop // CHUNK_BYTES)):
            at = position * CHUNK_BYTES
            found += self._chunk(position)[max(0, start - at) : stop - at]
        if len(found) != stop - start:
            raise CorruptError(f"blob {self._sha256[:12]}… ends before byte {stop:,}")
        return bytes(found)

    def _chunk(self, position: int) -> bytes:
        """Return a chunk, the one read last without asking again."""
        if position != self._position:
            here = (BlobChunk.blob == self._sha256, BlobChunk.position == position)
            wanted = select(Chunk.sha256, Chunk.data)
            row = self._session.execute(
                wanted.join(BlobChunk, BlobChunk.chunk == Chunk.sha256).where(*here)
            ).first()
            if row is None or hashlib.sha256(row.data).hexdigest() != row.sha256:
                raise CorruptError(f"blob {self._sha256[:12]}…: chunk {position} is damaged")
            self._position, self._data = position, row.data
        return self._data


def chunks(session: Session, sha256: str) -> list[str]:
    """Return the names of a blob's chunks, in order."""
    of_blob = select(BlobChunk.chunk).where(BlobChunk.blob == sha256)
    return list(session.scalars(of_blob.order_by(BlobChunk.position)))


def discard(session: Session, sha256: str) -> bool:
    """Delete a blob that nothing refers to, and its chunks that no other blob has."""
    names = chunks(session, sha256)
    if not _run(session, delete(Blob).where(Blob.sha256 == sha256, *_unreferenced())).rowcount:
        return False
    _run(session, delete(Chunk).where(Chunk.sha256.in_(names), _orphaned()))
    return True


def collect(database: Database, older_than_s: float = 3600.0) -> int:
    """Delete blobs and chunks that nothing refers to.  Returns: how many there were of both.

    Parts of jobs that have ended go first: only a job that succeeds has made a result of them. A
    chunk staged less than ``older_than_s`` ago may be about to be attached, and stays.
    """
    ended = select(Job.id).where(Job.state.in_(FINAL))
    database.transact(lambda uow: _run(uow.session, delete(Part).where(Part.job_id.in_(ended))))
    with database.read() as session:
        blobs = session.scalars(select(Blob.sha256).where(*_unreferenced())).all()
    removed = sum(database.transact(lambda uow, b=b: discard(uow.session, b)) for b in blobs)  # type: ignore[misc]
    # Both-sided: a chunk from the future (the clock went back) must not stay for ever.
    now = time.time()
    stale = ~Chunk.staged_at.between(now - older_than_s, now + older_than_s)
    with database.read() as session:
        orphans = session.scalars(select(Chunk.sha256).where(stale, _orphaned())).all()
    for chunk in orphans:
        drop = delete(Chunk).where(Chunk.sha256 == chunk, stale, _orphaned())
        removed += database.transact(lambda uow, d=drop: _run(uow.session, d).rowcount)  # type: ignore[misc]
    return removed


def insert_new(session: Session, table: type[Any], rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose keys are not there yet."""
    if rows:
        session.execute(_insert_new(_dialect(session), cast("Table", table.__table__)), rows)


def _pieces(data: bytes | Iterable[bytes]) -> Iterator[bytes]:
    """Cut bytes, or gather pieces of any size, into chunks."""
    if isinstance(data, bytes):
        for start in range(0, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]
        return
    buffer = bytearray()
    for piece in data:
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)


def _stage_chunks(chunks: Mapping[str, bytes], uow: UnitOfWork) -> None:
    """Store chunks in the order of their names: who stores the same ones waits in one place."""
    for name in sorted(chunks):
        _stage_chunk(uow.session, name, chunks[name])


def _stage_chunk(session: Session, sha256: str, data: bytes) -> None:
    """Store one chunk, or renew its time so that no collection takes it before it is attached.

    One that was stored before is written again: if its bytes were damaged, they no longer are.
    """
    faults.reach("chunk")
    now = time.time()
    staged_at = session.scalar(_staged_at(), {"sha256": sha256})
    if staged_at is not None and now - FRESH_S < staged_at <= now:
        return
    row = {"sha256": sha256, "staged_at": now, "data": data}
    session.execute(_store_chunk(_dialect(session)), [row])


# Made once each: to build a statement anew costs more than to run it.


@cache
def _staged_at() -> Select[Any]:
    return select(Chunk.staged_at).where(Chunk.sha256 == bindparam("sha256"))


@cache
def _store_chunk(dialect: str) -> Any:
    statement = _insert(dialect)(cast("Table", Chunk.__table__))
    renewed = {name: statement.excluded[name] for name in ("staged_at", "data")}
    return statement.on_conflict_do_update(index_elements=["sha256"], set_=renewed)


@cache
def _insert_new(dialect: str, table: Table) -> Any:
    return _insert(dialect)(table).on_conflict_do_nothing()


def _insert(dialect: str) -> Any:
    """Return the engine's INSERT with ON CONFLICT; the two are alike but not related."""
    return (sqlite if dialect == "sqlite" else postgresql).insert


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name


def _unreferenced() -> list[Any]:
    users = (
        Dataset.blob,
        Dataset.prepared,
        Checkpoint.blob,
        Model.bundle,
        Part.blob,
        UploadPart.blob,
        WarmStart.blob,
    )
    return [~exists().where(user == Blob.sha256) for user in users]


def _orphaned() -> Any:
    return ~exists().where(BlobChunk.chunk == Chunk.sha256)


def _run(session: Session, statement: Any) -> CursorResult[Any]:
    return cast(
        "CursorResult[Any]",
        session.execute(statement.execution_options(synchronize_session=False)),
    )
