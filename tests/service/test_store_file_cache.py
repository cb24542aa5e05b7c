import hashlib
import os
import time

import pytest

from service.errors import CorruptError
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
