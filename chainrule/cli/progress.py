"""Following a job: a bar on a terminal, now and then a line anywhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from chainrule.cli.shared import Session
    from chainrule.client import Dataset, Job

__all__ = ["follow", "upload"]

LINE_EVERY_S = 10.0
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn("{task.fields[note]}"),
    TimeRemainingColumn(),
)


def upload(session: Session, source: str, types: Mapping[str, str] | None = None) -> Dataset:
    """Upload a file and return its dataset once it is parsed, showing how far that is."""
    if session.as_json:
        return session.client.upload(source, types=types)
    if not session.err.is_terminal:
        tell = _now_and_then(session.err)
        return session.client.upload(source, types=types, on_progress=tell)
    with Progress(*COLUMNS, console=session.err, transient=True) as bar:
        task = bar.add_task("upload", total=1.0, note=escape(source))
        return session.client.upload(
            source,
            types=types,
            on_progress=lambda what, share: bar.update(task, completed=share, description=what),
        )


def _now_and_then(console: Console) -> Callable[[str, float], None]:
    """Return what prints a line, but not more often than every ``LINE_EVERY_S``."""
    told_at = time.monotonic()

    def show(what: str, share: float) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= LINE_EVERY_S:
            told_at = time.monotonic()
            console.print(f"{what} {share:4.0%}")

    return show


def follow(session: Session, job: Job) -> None:
    """Wait for a job, showing how far it is and its last losses; silent with --json."""
    if session.as_json:
        job.wait()
    elif session.err.is_terminal:
        _with_bar(session.err, job)
    else:
        job.wait(_lines(session.err, job))


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
            console.print(f"attempt {attempt}: {_from(job)}")
            known = attempt

    return tell


def _from(job: Job) -> str:
    if job.view.get("kind") == "parsing":
        return "begins with the file anew"
    kept = "checkpoint" if job.view.get("kind") != "prediction" else "block"
    return f"goes on from the last {kept}, {job.progress()}"


def _note(job: Job) -> str:
    note = job.progress()
    for part in ("train", "validation"):
        loss = ((job.view.get("metrics") or {}).get(part) or {}).get("loss")
        note += f"  {part} {loss:.4f}" if loss is not None else ""
    return note
