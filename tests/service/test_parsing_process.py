"""The child that parses: warm, bounded, replaced when it dies, and gone when its parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from chainrule.errors import DataError
from service.parsing import Parser
from service.parsing.child import answer

GOOD = b"a,b\n1,x\n2,y\n"


@pytest.fixture(scope="module")
def parser():
    with closing(Parser()) as made:
        yield made


@pytest.fixture
def upload(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(GOOD)
    return path


def child_of(parser):
    return parser._child._process


def test_a_file_becomes_a_schema_and_a_prepared_file(parser, upload, tmp_path):
    prepared = tmp_path / "prepared"
    parsed = parser.parse(upload, "csv", prepared)
    assert (parsed.rows, parsed.prepared) == (2, prepared)
    assert [column["type"] for column in parsed.schema["columns"]] == ["integer", "categorical"]
    tensors = load_file(prepared)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"a": [1, 2], "b": [0, 1]}


def test_the_same_file_gives_the_same_prepared_bytes(parser, upload, tmp_path):
    upload.write_bytes(b"z,a,m,b\n1,x,2.5,u\n2,y,3.5,v\n")
    files = [parser.parse(upload, "csv", tmp_path / name).prepared for name in ("one", "other")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_other_formats_and_an_unknown_one(parser, upload):
    np.savez(upload.with_suffix(".npz"), x=np.zeros((3, 2)), y=np.arange(3))
    assert parser.parse(upload.with_suffix(".npz"), "npz").rows == 3
    upload.write_bytes(b'{"inputs": [[1]], "targets": [0]}')
    parsed = parser.parse(upload, "json")
    assert parsed.prepared == upload.with_name("upload.prepared")
    formats = "csv, tsv, ndjson, parquet, npz, npy, idx, json"
    with pytest.raises(DataError, match=f"the format 'xml' is not one of {formats}"):
        parser.parse(upload, "xml")


def test_errors_keep_their_place_and_leave_no_file(parser, upload, tmp_path):
    upload.write_bytes(b"a,b\n1\n")
    with pytest.raises(DataError) as error:
        parser.parse(upload, "csv", tmp_path / "prepared")
    (problem,) = error.value.problems
    assert (problem.path, problem.detail) == ("file", "line 2: has 1 field, the header has 2")
    assert not (tmp_path / "prepared").exists()


def test_what_nobody_foresaw_is_an_error_about_the_file(parser, tmp_path):
    with pytest.raises(DataError, match=r"^file: cannot be read as csv$"):
        parser.parse(tmp_path / "not there", "csv")
    found = answer({"path": str(tmp_path / "not there"), "format": "csv", "prepared": "x"})
    assert found["failure"].startswith("FileNotFoundError")


def test_the_child_stays_and_is_replaced_when_it_has_died(parser, upload):
    parser.parse(upload, "csv")
    child = child_of(parser)
    parser.parse(upload, "csv")
    assert child_of(parser) is child
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert parser.parse(upload, "csv").rows == 2
    assert child_of(parser) is not child


def test_many_threads_share_one_child(parser, tmp_path):
    found = {}

    def parse(number):
        path = tmp_path / f"upload{number}"
        path.write_bytes(b"a\n" + b"1\n" * number)
        found[number] = parser.parse(path, "csv").rows

    threads = [threading.Thread(target=parse, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number for number in range(1, 9)}
    # The thread that asked first has ended; the child's parent-death signal must not have fired.
    assert child_of(parser).poll() is None


def test_a_file_that_takes_too_long_is_given_up(tmp_path, upload):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with closing(Parser(deadline_s=0.3)) as parser:
        with pytest.raises(DataError, match=r"^file: took longer than 0\.3 s to parse$"):
            parser.parse(fifo, "csv")
        assert parser.parse(upload, "csv").rows == 2


def test_a_child_that_is_killed_over_a_file_is_followed_by_another(parser, upload):
    parser.parse(upload, "csv")
    child = child_of(parser)
    child.send_signal(signal.SIGSTOP)
    timer = threading.Timer(0.2, child.kill)
    timer.start()
    assert parser.parse(upload, "csv").rows == 2
    timer.join()
    assert child_of(parser).pid != child.pid


def test_a_file_that_two_children_die_over_is_to_blame(tmp_path, upload):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def kill_whoever_reads():
        for _ in range(2):
            end = None
            while end is None:
                time.sleep(0.01)
                with suppress(OSError):  # nobody reads yet
                    end = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            child = child_of(parser)
            child.send_signal(signal.SIGSEGV)
            child.wait()
            os.close(end)

    with closing(Parser()) as parser:
        parser.parse(upload, "csv")
        killer = threading.Thread(target=kill_whoever_reads)
        killer.start()
        with pytest.raises(DataError, match=r"^file: ended the process that parsed it \(signal 11"):
            parser.parse(fifo, "csv")
        killer.join()
        assert parser.parse(upload, "csv").rows == 2


def test_memory_is_limited(tmp_path, upload):
    path = tmp_path / "large"
    path.write_bytes(b"a,b\n1," + b"x" * (80 << 20))  # a record is held as a whole
    with closing(Parser(memory_bytes=250 << 20)) as parser:
        with pytest.raises(DataError, match=r"^file: (needs more memory|ended the process)"):
            parser.parse(path, "csv")
        assert parser.parse(upload, "csv").rows == 2


def test_memory_does_not_grow_with_the_table(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"a,b,c\n" + b"1.5,2.5,3.5\n" * 3_000_000)
    with closing(Parser(memory_bytes=400 << 20)) as parser:
        assert parser.parse(path, "csv").rows == 3_000_000


def test_the_child_has_no_secrets_and_no_core_dump(parser, upload, monkeypatch):
    monkeypatch.setenv("CHAINRULE_API_KEY", "canary")
    with closing(Parser()) as fresh:
        fresh.parse(upload, "csv")
        proc = Path("/proc") / str(child_of(fresh).pid)
        environment = (proc / "environ").read_bytes()
        limits = (proc / "limits").read_text()
    assert b"CHAINRULE" not in environment
    assert b"canary" not in environment
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]


def test_the_child_ends_when_its_parent_is_killed(tmp_path, upload):
    script = (
        "import sys, time; from pathlib import Path; from service.parsing import Parser\n"
        "parser = Parser(); parser.parse(Path(sys.argv[1]), 'csv')\n"
        "print(parser._child._process.pid, flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(upload)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.02)
    assert not _runs(pid)


def test_closing_ends_the_child(upload):
    parser = Parser()
    parser.parse(upload, "csv")
    pid = child_of(parser).pid
    parser.close()
    assert not _runs(pid)


def _runs(pid):
    try:
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
