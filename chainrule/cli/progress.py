"""Following a job: a bar on a terminal, now and then a line anywhere else."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from chainrule.cli.shared import Session
    from chainrule.client import Job

__all__ = ["follow", "uploading"]

LINE_EVERY_S = 10.0
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn("{task.fields[note]}"),
    TimeRemainingColumn(),
)


def follow(session: Session, job: Job) -> None:
    """Wait for a job, showing how far it is and its last losses; silent with --json."""
    if session.as_json:
        job.wait()
    elif session.err.is_terminal:
        _with_bar(session.err, job)
    else:
        job.wait(_lines(session.err, job))


@contextmanager
def uploading(session: Session) -> Iterator[Callable[[str, float], object]]:
    """Yield what an upload tells its progress, for a person at a terminal."""
    with Progress(
        *COLUMNS, console=session.err, transient=True, disable=not _shows(session)
    ) as bar:
        task = bar.add_task("upload", total=1.0, note="", visible=False)

        def tell(what: str, share: float) -> None:
            bar.update(task, completed=share, description=what, visible=True)

        yield tell


def _shows(session: Session) -> bool:
    return session.err.is_terminal and not session.as_json


def _with_bar(console: Console, job: Job) -> None:
    with Progress(*COLUMNS, console=console, transient=True) as bar:
        task = bar.add_task(job.state, total=1.0, note="")
        tell_takeover = _takeovers(console, job)

        def show(job: Job) -> None:
            tell_takeover(job)
            done = job.view["progress"]["fraction"]
            bar.update(task, completed=done, description=job.state, note=_note(job))

        job.wait(show)


def _lines(console: Console, job: Job) -> Callable[[Job], None]:
    """Return what prints a line, but not more often than every ``LINE_EVERY_S``."""
    tell_takeover = _takeovers(console, job)
    told_at = time.monotonic()

    def show(job: Job) -> None:
        nonlocal told_at
        tell_takeover(job)
        if time.monotonic() - told_at < LINE_EVERY_S or job.done:
            return
        told_at = time.monotonic()
        done = job.view["progress"]["fraction"]
        console.print(f"{job.state} {done:4.0%}  {_note(job)}", soft_wrap=True)

    return show


def _takeovers(console: Console, job: Job) -> Callable[[Job], None]:
    """Return what tells that a job goes on in another attempt; the first is none."""
    known = max(job.view["attempt"], 1)

    def tell(job: Job) -> None:
        nonlocal known
        attempt = job.view["attempt"]
        if attempt > known:
            kept = "checkpoint" if job.view.get("kind") != "prediction" else "block"
            console.print(f"attempt {attempt}: goes on from the last {kept}, {job.progress()}")
            known = attempt

    return tell


def _note(job: Job) -> str:
    note = job.progress()
    for part in ("train", "validation"):
        loss = ((job.view.get("metrics") or {}).get(part) or {}).get("loss")
        note += f"  {part} {loss:.4f}" if loss is not None else ""
    return note
