"""``chainrule demo``: the whole service once, on real data, leaving nothing behind."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

import chainrule.bundle
from chainrule.cli.layers import architecture_of
from chainrule.cli.progress import follow
from chainrule.cli.rows import read_rows
from chainrule.cli.shared import Session, json_option, metrics_line
from chainrule.cli.stack import Stack
from chainrule.errors import ChainruleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.client import Client

__all__ = ["demo"]

TARGET = "digit"
LAYERS = "128 relu, 64 relu"
TRAINING = {
    "loss": "softmax_cross_entropy",
    "optimizer": {"kind": "adam"},
    "epochs": 20,
    "batch_size": 64,
    "seed": 1,
}
HELD_OUT = 0.2
WANTED_ACCURACY = 0.95
ROUNDING = 1e-5  # float32: the API and the library may cut the rows into different batches


@click.command()
@json_option
def demo(as_json: bool) -> int:
    """Show it all on real data, and leave nothing.

    Starts a service in a temporary directory on a free port, keeps 20 % of the data aside, trains
    on the rest over HTTP, downloads the model and tests it on what it has never seen: through the
    API and from the downloaded bundle alone. No process and no file stays behind.
    """
    session = Session(as_json=as_json)
    with _unwinding_on_signals():
        session.say("[bold]chainrule demo[/bold]: handwritten digits, learnt on this machine\n")
        result = _Demo(session).run()
    if as_json:
        session.answer(result)
    else:
        session.say(f"\ntest accuracy {result['accuracy']:.3f}")
    if result["accuracy"] < WANTED_ACCURACY:
        session.err.print(f"[red]that is less than {WANTED_ACCURACY}[/red]")
        return 1
    return 0


class _Demo:
    """The steps, each timed and told."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """Return the accuracy on the rows kept aside and what it took."""
        with ExitStack() as running:
            with self._step("start") as note:
                folder = tempfile.TemporaryDirectory(prefix="chainrule-demo-")
                self.folder = Path(running.enter_context(folder))
                stack = running.enter_context(Stack(self.folder))
                note.append(f"service at {stack.url}: API, worker, queue and database")
            with stack.client() as client:
                result = self._train_and_test(client)
            with self._step("stop") as note:
                running.close()
                note.append("no process and no file is left")
        return result | {"seconds": self.seconds}

    def _train_and_test(self, client: Client) -> dict[str, Any]:
        with self._step("upload") as note:
            kept, rows, labels = self._divide()
            dataset = client.upload(kept)
            note.append(f"{dataset.rows:,} rows uploaded, {len(rows)} kept aside for the test")
        with self._step("train") as note:
            data = {"target": TARGET, "task": "classification"}
            job = client.train(dataset, architecture_of(LAYERS), TRAINING, data=data, name="digits")
            follow(self.session, job)
            if job.state != "succeeded":
                raise ChainruleError(f"the job is {job.summary()}")
            found = metrics_line(job.view["metrics"]["validation"])
            note.append(f"64-128-64-10, {TRAINING['epochs']} epochs: validation {found}")
        with self._step("download") as note:
            bundle = job.download(self.folder / "digits.zip")
            note.append(f"the model as a bundle, {bundle.stat().st_size:,} bytes")
        with self._step("predict") as note:
            remote = job.predict(rows)
            local = chainrule.bundle.load(bundle).predict(rows)
            gap = _gap(remote, local)
            note.append(f"{len(rows)} rows by the API and by the bundle alone: the same numbers")
        right = [int(p) == label for p, label in zip(remote["predictions"], labels, strict=True)]
        return {
            "accuracy": sum(right) / len(right),
            "rows": len(right),
            "largest_difference": gap,
            "job": job.view,
        }

    def _divide(self) -> tuple[Path, list[dict[str, Any]], list[int]]:
        """Write what may be learnt from as a file; return it, the rows kept aside, their labels."""
        shipped = files("chainrule") / "data" / "digits.csv"
        with as_file(shipped) as path:
            rows: list[dict[str, Any]] = read_rows(path)[1]
            header, *lines = path.read_text("utf-8").splitlines()
        order = np.random.default_rng(0).permutation(len(rows))
        aside = {int(index) for index in order[: int(HELD_OUT * len(rows))]}
        kept = self.folder / "digits.csv"
        learnt = [line for index, line in enumerate(lines) if index not in aside]
        kept.write_text("\n".join([header, *learnt, ""]), "utf-8")
        held_out = [rows[index] for index in sorted(aside)]
        labels = [int(row.pop(TARGET)) for row in held_out]
        return kept, held_out, labels

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        started = time.monotonic()
        note: list[str] = []
        yield note
        self.seconds[name] = round(time.monotonic() - started, 3)
        self.session.say(
            f"[green]✓[/green] {name:<9}[dim]{self.seconds[name]:6.2f} s[/dim]  {note[0]}"
        )


def _gap(remote: dict[str, Any], local: dict[str, Any]) -> float:
    """Return the largest difference of two answers' probabilities.

    Raises: ChainruleError, if it is more than rounding, or a prediction differs.
    """
    far = np.abs(np.subtract(remote["probabilities"], local["probabilities"]))
    gap = float(far.max())
    if remote["predictions"] != list(local["predictions"]) or not gap <= ROUNDING:
        raise ChainruleError(f"the API and the bundle differ, by up to {gap:g}")
    return gap


@contextmanager
def _unwinding_on_signals() -> Iterator[None]:
    """End by unwinding on a SIGTERM or SIGHUP too, and let nothing interrupt the unwinding."""

    def leave(signum: int, _: object) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [
        signal.SIGINT,
        signal.SIGTERM,
        *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []),
    ]
    before = {each: signal.signal(each, leave) for each in caught}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
