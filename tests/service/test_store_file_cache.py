import hashlib
import os
import threading
import time

import pytest

from service.errors import CorruptError
from service.store import file_cache
from service.store.file_cache import FileCache

DATA = b"prepared tensors"
SHA256 = hashlib.sha256(DATA).hexdigest()


class Reads:
    """Counts what is read from the database."""

    def __init__(self, data=DATA):
        self.data = data
        self.asked = []

    def __call__(self, sha256):
        self.asked.append(sha256)
        return iter([self.data[:5], self.data[5:]])


def test_bytes_are_read_once_and_then_come_from_the_file(tmp_path):
    reads = Reads()
    cache = FileCache(tmp_path / "cache")
    path = cache.fetch(SHA256, reads)
    assert path.read_bytes() == DATA
    assert cache.fetch(SHA256, reads) == path
    assert reads.asked == [SHA256]


def test_a_later_process_takes_a_sound_file_as_it_is(tmp_path):
    FileCache(tmp_path).fetch(SHA256, Reads())
    reads = Reads()
    assert FileCache(tmp_path).fetch(SHA256, reads).read_bytes() == DATA
    assert reads.asked == []


def test_a_linked_file_is_taken_once_it_is_verified(tmp_path):
    upload, reads, beats = tmp_path / "upload", Reads(), []
    upload.write_bytes(DATA)
    cache = FileCache(tmp_path / "cache")
    cache.link(upload, SHA256)
    upload.unlink()
    path = cache.fetch(SHA256, reads, lambda: beats.append(len(reads.asked)))
    assert path.read_bytes() == DATA
    assert (reads.asked, beats) == ([], [0])


def test_a_linked_file_that_is_another_is_read_again(tmp_path):
    upload, reads = tmp_path / "upload", Reads()
    upload.write_bytes(b"something else")
    cache = FileCache(tmp_path / "cache")
    cache.link(upload, SHA256)
    assert cache.fetch(SHA256, reads).read_bytes() == DATA
    assert (reads.asked, upload.read_bytes()) == ([SHA256], b"something else")
    cache.link(upload, SHA256)  # is there
    cache.link(tmp_path / "gone", "0" * 64)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("same_process", [True, False])
def test_a_damaged_file_is_read_again(tmp_path, same_process):
    cache = FileCache(tmp_path)
    path = cache.fetch(SHA256, Reads())
    path.write_bytes(b"prepared tensorx")
    reads = Reads()
    again = cache if same_process else FileCache(tmp_path)
    assert again.fetch(SHA256, reads).read_bytes() == DATA
    assert reads.asked == [SHA256]


def test_bytes_of_another_hash_are_refused_and_leave_no_file(tmp_path):
    with pytest.raises(CorruptError, match="another hash"):
        FileCache(tmp_path).fetch(SHA256, Reads(b"something else"))
    assert list(tmp_path.iterdir()) == []


def test_room_is_made_from_files_unused_for_long_only(tmp_path):
    old, recent = tmp_path / "old.safetensors", tmp_path / "recent.safetensors"
    for path in (old, recent):
        path.write_bytes(bytes(50))
    long_ago = time.time() - 2 * 3600
    os.utime(old, (long_ago, long_ago))
    FileCache(tmp_path, limit_bytes=20).fetch(SHA256, Reads())
    assert not old.exists()
    assert recent.exists()


def test_a_file_whose_hash_is_known_is_taken_as_it_is(tmp_path):
    cache = FileCache(tmp_path)
    made = cache.scratch("job-1")
    made.write_bytes(DATA)
    path = cache.put(made, SHA256)
    assert not made.exists()
    reads = Reads()
    assert cache.fetch(SHA256, reads) == path
    assert cache.put(path, SHA256) == path
    assert FileCache(tmp_path).fetch(SHA256, reads).read_bytes() == DATA
    assert reads.asked == []


def test_who_waits_for_a_file_that_another_gets_goes_on_beating(tmp_path, monkeypatch):
    monkeypatch.setattr(file_cache, "BEAT_S", 0.01)
    cache, begun, beaten = FileCache(tmp_path), threading.Event(), threading.Event()

    def slowly(_sha256):
        begun.set()
        assert beaten.wait(30)
        yield DATA

    first = threading.Thread(target=cache.fetch, args=(SHA256, slowly))
    first.start()
    begun.wait(30)
    reads = Reads()
    assert cache.fetch(SHA256, reads, beaten.set).read_bytes() == DATA
    first.join()
    assert reads.asked == []
