"""Predictions by the embedded service: ``make bench-predictions``.

One row over HTTP, of a table by an MLP and of an image by a CNN; then a million rows of twenty
columns as a job, with the private memory of every process of the stack while it runs.
"""

from __future__ import annotations

import http.client
import json
import re
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.processes import Memory
from benchmarks.report import Case, write
from chainrule.cli.layers import architecture_of
from chainrule.cli.stack import Stack

if TYPE_CHECKING:
    from chainrule.client import Client, Model

CALLS = 500
ROWS, COLUMNS = 1_000_000, 20
SAMPLE_S = 0.02
WATCHED = ("API", "worker", "trainer")
ONE_ROW_MS, MEMORY_MB = 3.0, 300.0  # the bars; there is none for rows a second
TRAINING = {"epochs": 1, "batch_size": 64, "seed": 1}
CNN = {
    "name": "cnn",
    "layers": [
        {"kind": "conv2d", "filters": 16, "kernel_size": 3, "activation": "relu"},
        {"kind": "max_pool2d"},
        {"kind": "conv2d", "filters": 32, "kernel_size": 3, "activation": "relu"},
        {"kind": "max_pool2d"},
        {"kind": "flatten"},
        {"kind": "dense", "units": "auto"},
    ],
}


def main() -> None:
    """Measure single rows, then the job."""
    with (
        tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder,
        Stack(Path(folder)) as stack,
        stack.client() as client,
    ):
        cases = [*_one_row(stack, client, "digits MLP 64-128-64-10", *_digits(client))]
        cases += _one_row(stack, client, "CNN 16-32 on 28x28", *_images(client))
        cases += _a_million(stack, client, Path(folder))
    write("predictions", cases)


def _digits(client: Client) -> tuple[Model, dict[str, Any]]:
    with as_file(files("chainrule") / "data" / "digits.csv") as path:
        dataset = client.upload(path)
    network = architecture_of("128 relu, 64 relu")
    data = {"target": "digit", "task": "classification"}
    model = client.train(dataset, network, TRAINING, data=data).wait().model()
    row = {c["name"]: 3.0 for c in dataset.view["columns"] if c["name"] != "digit"}
    return model, {"rows": [row]}


def _images(client: Client) -> tuple[Model, dict[str, Any]]:
    rng = np.random.default_rng(0)
    images = rng.random((256, 28, 28, 1)).astype(np.float32)
    dataset = client.upload({"images": images, "labels": rng.integers(0, 10, 256)})
    data = {"inputs": "images", "target": "labels", "task": "classification"}
    model = client.train(dataset, CNN, TRAINING, data=data).wait().model()
    return model, {"inputs": images[:1].tolist()}


def _one_row(
    stack: Stack, client: Client, kind: str, model: Model, document: dict[str, Any]
) -> list[Case]:
    """Time one row, once the model is loaded (ms)."""
    del client
    connection = http.client.HTTPConnection(re.sub(r"^http://", "", stack.url))
    headers = {"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"}
    body = json.dumps(document)
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        connection.request("POST", f"{model.path}/predict", body, headers)
        answer = connection.getresponse()
        answer.read()
        times.append(1000 * (time.perf_counter() - started))
        if answer.status != 200:
            raise SystemExit(f"predict: {answer.status}")
    connection.close()
    print(f"{kind}: first {times[0]:.2f} ms, fastest {min(times):.2f} ms")
    p95 = quantiles(times[20:], n=20)[-1]
    return [
        _against_bar(f"predict one row, p50, {kind}", median(times[20:]), ONE_ROW_MS, "ms"),
        _against_bar(f"predict one row, p95, {kind}", p95, ONE_ROW_MS, "ms"),
    ]


def _a_million(stack: Stack, client: Client, folder: Path) -> list[Case]:
    """Predict a million rows in a job, and watch the memory of each process."""
    path = folder / "rows.csv"
    _write_rows(path, ROWS)
    few = folder / "few.csv"
    _write_rows(few, 2_000)
    data = {"target": "c0", "task": "classification"}
    network = architecture_of("64 relu, 32 relu")
    model = client.train(client.upload(few), network, TRAINING, data=data).wait().model()
    started = time.perf_counter()
    dataset = client.upload(path)
    print(f"upload and parsing: {time.perf_counter() - started:.1f} s")
    with Memory(stack.process.pid, SAMPLE_S) as memory:
        started = time.perf_counter()
        job = model.predict_dataset(dataset).wait()
        taken = time.perf_counter() - started
        if job.state != "succeeded":
            raise SystemExit(f"{job.id}: {job.summary()}")
        saved = job.result().download(folder / "result.csv")
    print(f"{ROWS:,} rows in {taken:.1f} s; the result has {saved.stat().st_size / 1e6:.0f} MB")
    name = f"batch prediction, {ROWS:,} rows x {COLUMNS} columns, CSV"
    return [Case(name, 1, ROWS / taken, 0.0, "none", "rows/s", 1.0)] + [
        _against_bar(f"private memory of the {role}, peak of the job", peak, MEMORY_MB, "MB")
        for role, peak in memory.peaks.items()
        if role in WATCHED
    ]


def _write_rows(path: Path, rows: int) -> None:
    """Write a table of two-digit numbers, the first column one of three classes."""
    rng = np.random.default_rng(1)
    with path.open("w", encoding="ascii") as file:
        file.write(",".join(f"c{i}" for i in range(COLUMNS)) + "\n")
        for start in range(0, rows, 10_000):
            values = rng.integers(0, 100, (min(10_000, rows - start), COLUMNS))
            values[:, 0] %= 3
            np.savetxt(file, values, fmt="%d", delimiter=",")


def _against_bar(case: str, ours: float, bar: float, unit: str) -> Case:
    return Case(case, 1, ours, bar, "bar", unit, bar / ours)


if __name__ == "__main__":
    main()
