"""The power goes (F24): what was acknowledged is there in whatever order writes reached the disk.

A process stores bytes in SQLite under strace; each answer is a line that it writes. The log is then
played back: what was synced is on the disk, of what was not any part may be. PostgreSQL keeps its
own promise of the kind; ours there is ``synchronous_commit=on``, which another test looks at.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pysqlite3.dbapi2
import pytest

from tests.processes import clean_environment

SEED = 24
SECTOR = 512  # what a disk writes whole
CUTS = 40
WRITES = 36  # some megabytes: a WAL begins anew after four
WRITER = """
import os, sys
from service.store import blobs
from service.store.database import Database

database = Database(f"sqlite:///{sys.argv[1]}")
for number in range(int(sys.argv[2])):
    data = number.to_bytes(2, "big") * 65536
    staged = blobs.stage(database, data)
    database.transact(lambda uow: blobs.attach(uow.session, staged))
    os.write(1, f"stored {staged.sha256}\\n".encode())
database.dispose()
"""
CALLS = "openat,close,write,pwrite64,ftruncate,fsync,fdatasync,unlink"
CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def literal(text):
    """The bytes of a string as ``strace -xx`` writes it."""
    return bytes.fromhex(text.replace("\\x", ""))


class Disk:
    """What is on it for certain, and what was written since the last sync, by file."""

    def __init__(self, files):
        self.synced = {name: bytearray(data) for name, data in files.items()}
        self.pending = {name: [] for name in files}

    def write(self, name, offset, data):
        self.pending.setdefault(name, []).append((offset, data))

    def cut_to(self, name, length):
        self.pending.setdefault(name, []).append((length, None))

    def sync(self, name):
        file = self.synced.setdefault(name, bytearray())
        for change in self.pending.pop(name, []):
            _apply(file, *change)

    def after_a_cut(self, draw):
        """The files as they may be found: each pending sector has come to the disk, or has not."""
        found = {name: bytearray(data) for name, data in self.synced.items()}
        for name, changes in self.pending.items():
            file = found.setdefault(name, bytearray())
            share = draw.choice([0.0, 0.5, 0.9, 1.0])
            for offset, data in changes:
                if data is None:
                    if draw.random() < share:
                        _apply(file, offset, None)
                    continue
                for start in range(0, len(data), SECTOR):
                    if draw.random() < share:
                        _apply(file, offset + start, data[start : start + SECTOR])
        return found


def _apply(file, offset, data):
    if data is None:
        del file[offset:]
        return
    if len(file) < offset:
        file.extend(bytes(offset - len(file)))
    file[offset : offset + len(data)] = data


def events(log, folder):
    """Read what happened to the files of a folder, and what was acknowledged, in order."""
    names, found = {}, []
    with log.open(errors="replace") as lines:
        for line in lines:
            call = CALL.match(line)
            if not call or int(call[3]) < 0:
                continue
            name, arguments, result = call[1], call[2], int(call[3])
            number = int(re.match(r"\d+", arguments)[0]) if arguments[:1].isdigit() else -1
            if name == "openat":
                path = Path(literal(TEXT.search(arguments)[1]).decode())
                names.pop(result, None)
                if path.parent == folder and not path.name.endswith("-shm"):
                    names[result] = path.name
            elif name == "close":
                names.pop(number, None)
            elif name == "write" and number == 1:
                told = literal(TEXT.search(arguments)[1]).split()[1].decode()
                found.append(("acknowledged", told))
            elif number in names and name == "pwrite64":
                data = literal(TEXT.search(arguments)[1])[:result]
                found.append(("write", names[number], int(arguments.rpartition(",")[2]), data))
            elif number in names and name == "ftruncate":
                found.append(("cut_to", names[number], int(arguments.rpartition(",")[2])))
            elif number in names and name in ("fsync", "fdatasync"):
                found.append(("sync", names[number]))
    return found


@pytest.fixture
def log(sqlite_template, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("F24: to see the order of writes takes strace")
    path, log = tmp_path / "disk" / "chainrule.db", tmp_path / "log"
    path.parent.mkdir()
    path.write_bytes(sqlite_template.read_bytes())
    trace = ["strace", "-f", "-xx", "-s", "2000000", "-e", f"trace={CALLS}", "-o", str(log)]
    done = subprocess.run(
        [*trace, sys.executable, "-c", WRITER, str(path), str(WRITES)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"F24: strace may not trace here: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    return log


def test_what_was_acknowledged_is_there_after_a_power_cut_at_any_moment(
    log, sqlite_template, tmp_path
):
    draw, start = random.Random(SEED), {"chainrule.db": sqlite_template.read_bytes()}
    happened = events(log, tmp_path / "disk")
    chosen = set(draw.sample(range(len(happened)), CUTS))
    disk, acknowledged = Disk(start), []
    for moment, (what, *how) in enumerate(happened):
        if what == "acknowledged":
            acknowledged += how
        else:
            getattr(disk, what)(*how)
        if moment in chosen:
            place = tmp_path / f"cut{moment}"
            place.mkdir()
            for name, data in disk.after_a_cut(draw).items():
                (place / name).write_bytes(data)
            check(place / "chainrule.db", acknowledged, moment)
            shutil.rmtree(place)
    assert len(acknowledged) == WRITES
    assert disk.synced["chainrule.db"] != start["chainrule.db"], "a WAL came to its end"


def check(path, acknowledged, moment):
    connection = pysqlite3.dbapi2.connect(path)
    whole = connection.execute("PRAGMA integrity_check").fetchall()
    assert whole == [("ok",)], f"seed {SEED}, moment {moment}: {whole[:3]}"
    there = {row[0] for row in connection.execute("SELECT sha256 FROM blobs")}
    connection.close()
    lost = [name for name in acknowledged if name not in there]
    assert lost == [], f"seed {SEED}, moment {moment}"
