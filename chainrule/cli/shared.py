"""What the commands share: how they reach the service and how they speak."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from chainrule.client import Client
from chainrule.errors import ApiError
from chainrule.recipe.values import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from chainrule.client import Job, Model

__all__ = [
    "Session",
    "best_line",
    "job_of",
    "json_option",
    "metrics_line",
    "model_of",
    "or_not_found",
    "talks",
    "took",
    "warn",
]

NOT_FOUND = 3
MAX_WARNINGS = 5

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, on stdout.")


@dataclass
class Session:
    """One run of a command: the service that it talks to and where it writes."""

    url: str | None = None
    key: str | None = None
    as_json: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    @cached_property
    def client(self) -> Client:
        return Client(self.url, self.key)

    def say(self, text: str) -> None:
        """Tell a person what happens; silent with --json."""
        if not self.as_json:
            self.out.print(text)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows as columns, as wide as they are: an id is never cut."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())

    def answer(self, document: object) -> None:
        """Print a document as JSON."""
        click.echo(json.dumps(document, indent=2))


def talks(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the options of every command that talks to the service, and a session."""

    @click.option("--url", metavar="URL", help="The service's address, such as http://host:8000.")
    @click.option("--key", metavar="KEY", help="The API key (better: CHAINRULE_API_KEY).")
    @json_option
    @wraps(function)
    def wrapper(url: str | None, key: str | None, as_json: bool, **options: Any) -> int | None:
        session = Session(url, key, as_json)
        try:
            return function(session, **options)
        finally:
            if "client" in vars(session):
                session.client.close()

    return wrapper


class _NotFoundError(click.ClickException):
    exit_code = NOT_FOUND


@contextmanager
def or_not_found(message: str) -> Iterator[None]:
    """Name what was looked for when the service says that there is nothing (exit code 3)."""
    try:
        yield
    except ApiError as error:
        if error.status != 404:
            raise
        raise _NotFoundError(message) from None


def job_of(session: Session, job_id: str) -> Job:
    """Return a job, or end with exit code 3."""
    with or_not_found(f"no job {job_id}"):
        return session.client.job(job_id)


def model_of(session: Session, source: str) -> Model:
    """Return a model by its id, or that of a job."""
    if source.startswith("mdl_"):
        return session.client.model(source)
    return session.client.model(session.client.job(source).model().id)


def metrics_line(metrics: Mapping[str, Any]) -> str:
    """Write ``{"loss": 0.1234, "accuracy": 0.9}`` as ``loss 0.1234  accuracy 0.9000``."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)


def best_line(job: Job) -> str:
    """Tell the best epoch of a job that has gone on after it, which the model is not."""
    best = job.view.get("best")
    if not best or best["epoch"] == job.view["progress"]["epoch"]:
        return ""
    stopping = job.view["config"]["training"].get("early_stopping")
    if stopping and stopping["restore_best"]:
        return ""
    return f"epoch {best['epoch']}, loss {best['loss']:.4f}; the model is the last epoch's"


def warn(session: Session, warnings: Sequence[str]) -> None:
    """Show the first warnings, and how many more there are."""
    for warning in warnings[:MAX_WARNINGS]:
        session.err.print(f"[yellow]warning[/yellow] {escape(warning)}", soft_wrap=True)
    if len(warnings) > MAX_WARNINGS:
        more = counted(len(warnings) - MAX_WARNINGS, "more warning")
        session.err.print(f"[yellow]and {more}[/yellow]")


def took(job: Job) -> str:
    """Return how long a job that has ended ran, in words."""
    started, ended = job.view.get("started_at"), job.view.get("ended_at")
    if not (started and ended):
        return ""
    ran = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
    return f" in {ran.total_seconds():.1f} s"
