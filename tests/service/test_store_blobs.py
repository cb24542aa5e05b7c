"""Blobs: stored by hash in shared chunks, verified when read, gone when nobody needs them."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest
from sqlalchemy.exc import IntegrityError

from service.errors import CorruptError
from service.store import blobs
from service.store.tables import Blob, BlobChunk, Checkpoint, Chunk

BIG = random.Random(1).randbytes(2 * blobs.CHUNK_BYTES + 5)


def store(database, data):
    return blobs.attached(
        database,
        lambda: blobs.stage(database, data),
        lambda uow, staged: blobs.attach(uow.session, staged) or staged,
    )


def read(database, sha256):
    with database.read() as session:
        return blobs.read(session, sha256)


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "small", "three chunks"])
def test_bytes_come_back_as_they_were(database, data):
    staged = store(database, data)
    assert staged.sha256 == hashlib.sha256(data).hexdigest()
    assert staged.bytes == len(data)
    assert len(staged.chunks) == -(-len(data) // blobs.CHUNK_BYTES)
    assert read(database, staged.sha256) == data


def test_pieces_of_any_size_make_the_same_blob(database):
    pieces = [BIG[i : i + 300_001] for i in range(0, len(BIG), 300_001)]
    assert blobs.stage(database, iter(pieces)) == blobs.stage(database, BIG)


def test_equal_bytes_are_stored_once(scene):
    first, second = store(scene.database, BIG), store(scene.database, BIG)
    assert first == second
    assert scene.count(Blob) == 1
    assert scene.count(Chunk) == 3


def test_a_flipped_byte_is_found_when_read(scene):
    staged = store(scene.database, BIG)
    scene.sql("UPDATE chunks SET data = :bad WHERE sha256 = :one", bad=b"y", one=staged.chunks[1])
    with pytest.raises(CorruptError, match="not those that were written"):
        read(scene.database, staged.sha256)


def test_the_same_bytes_again_mend_what_was_damaged(scene):
    staged = store(scene.database, BIG)
    scene.sql("UPDATE chunks SET data = :bad, staged_at = 0", bad=b"y")
    assert store(scene.database, BIG) == staged
    assert read(scene.database, staged.sha256) == BIG
    assert scene.count(Chunk) == 3


def test_a_blob_that_is_not_there_is_corrupt(database):
    with pytest.raises(CorruptError):
        read(database, "0" * 64)


def test_a_chunk_that_vanished_is_staged_again(scene):
    runs = []

    def act(uow, staged):
        runs.append(staged)
        if len(runs) == 1:  # another job dropped its last reference to the same chunk
            scene_chunks = uow.session.query(Chunk).filter(Chunk.sha256 == staged.chunks[0])
            scene_chunks.delete()
        blobs.attach(uow.session, staged)
        return staged

    staged = blobs.attached(scene.database, lambda: blobs.stage(scene.database, BIG), act)
    assert len(runs) == 2
    assert read(scene.database, staged.sha256) == BIG


def test_a_reference_to_a_chunk_that_is_not_there_is_refused(scene):
    staged = blobs.stage(scene.database, b"gone")
    scene.sql("DELETE FROM chunks")
    with pytest.raises(IntegrityError):
        scene.database.transact(lambda uow: blobs.attach(uow.session, staged))
    assert scene.count(Blob) == 0


def test_restaging_gives_up_in_the_end(scene):
    def make():
        staged = blobs.stage(scene.database, b"gone")
        scene.sql("DELETE FROM chunks")
        return staged

    with pytest.raises(IntegrityError):
        blobs.attached(scene.database, make, lambda uow, staged: blobs.attach(uow.session, staged))


def test_discarding_spares_what_others_refer_to(scene):
    dataset = scene.dataset(BIG[: blobs.CHUNK_BYTES])
    both = store(scene.database, BIG)  # shares its first chunk with the dataset
    discard = scene.database.transact
    assert discard(lambda uow: blobs.discard(uow.session, dataset.blob)) is False
    assert discard(lambda uow: blobs.discard(uow.session, both.sha256)) is True
    assert read(scene.database, dataset.blob) == BIG[: blobs.CHUNK_BYTES]
    assert (scene.count(Chunk), scene.count(BlobChunk), scene.count(Blob)) == (1, 1, 1)


def test_collection_takes_old_orphans_only(scene):
    dataset = scene.dataset(b"kept")
    staged = blobs.stage(scene.database, b"about to be attached")
    blobs.stage(scene.database, b"orphan")
    store(scene.database, b"blob without a user")
    ours = (hashlib.sha256(b"orphan").hexdigest(), 0.0)
    scene.sql("UPDATE chunks SET staged_at = :at WHERE sha256 = :one", one=ours[0], at=ours[1])
    assert blobs.collect(scene.database) == 2
    scene.database.transact(lambda uow: blobs.attach(uow.session, staged))
    assert read(scene.database, dataset.blob) == b"kept"
    assert scene.count(Chunk) == 2


def test_a_chunk_staged_again_counts_as_fresh(scene):
    blobs.stage(scene.database, b"again")
    scene.sql("UPDATE chunks SET staged_at = 0")
    blobs.stage(scene.database, b"again")
    assert blobs.collect(scene.database) == 0


def test_a_chunk_from_the_future_is_collected_in_the_end(scene):
    blobs.stage(scene.database, b"orphan")
    scene.sql("UPDATE chunks SET staged_at = 1e12")
    assert blobs.collect(scene.database) == 1


def test_equal_jobs_side_by_side_share_chunks_and_both_keep_theirs(scene):
    # Each step drops a checkpoint whose bytes the other job is about to refer to, or has just.
    claims = [scene.running(steps=12), scene.running(steps=12)]
    start, errors = threading.Barrier(2), []

    def train(claim):
        start.wait()
        try:
            for step in range(1, 13):
                assert scene.commit(claim, step - 1, step, loss=1 / step, data=b"step %d" % step)
        except BaseException as error:  # shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=train, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert scene.count(Checkpoint) == 4
    with scene.database.read() as session:
        for row in session.query(Checkpoint):
            assert blobs.read(session, row.blob) == b"step %d" % row.step
    blobs.collect(scene.database)
    assert scene.count(Blob) == 3  # two checkpoints that both jobs have, and the dataset
