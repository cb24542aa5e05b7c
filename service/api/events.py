"""``/v1/jobs/{id}/events``: what becomes of a job, from any point on, as it happens or at once."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from flask import Response, current_app, request
from pydantic import Field

from service.actions import jobs
from service.api.context import parts, tenant
from service.api.job_views import event_view
from service.api.problems import RequestError
from service.api.schemas import Blueprint, Query, content, plain
from service.api.views import EventsView
from service.api.waiting import LONGEST_S, POLL_S
from service.errors import NotFoundError, UnavailableError
from service.store.tables import FINAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.api.context import Parts
    from service.store.tables import JobEvent

__all__ = ["bp"]

bp = Blueprint("events", __name__, url_prefix="/v1/jobs", tag="Events")

STREAM = "text/event-stream"
KEEP_ALIVE_S = 10.0  # a connection that nobody reads from any more is noticed by then
OUTAGE_S = 1.0  # between tries while the database is away
LAST_EVENT_ID = "Last-Event-ID"


class EventsQuery(Query):
    """Which events to read: those after the one of this id; and how long to wait for one (s)."""

    after: int = Field(0, ge=0, le=10**15)
    wait: int = Field(0, ge=0, le=LONGEST_S)


@bp.get("/<job:job_id>/events")
@bp.input(EventsQuery, location="query", arg_name="query")
@bp.output(EventsView)
@bp.doc(
    responses={
        **content("The events after the one named, oldest first", STREAM),
        204: "The job has ended, and the client has heard of it",
    }
)
def read_events(job_id: str, query: EventsQuery) -> Any:
    """Read the changes of a job's state, or (Accept: text/event-stream) hear of them as they come.

    Whoever asks for what came after the last event that it has seen misses none, whatever failed in
    between: by ?after=, or as a stream by Last-Event-ID. A stream ends after the event of a final
    state; its "progress" messages have no id, since the next one says all that the last one did.
    """
    p, who = parts(), tenant()
    after = _last_event_id(query.after)
    if request.accept_mimetypes.best_match(["application/json", STREAM]) == STREAM:
        return _streamed(p, who, job_id, after)
    sight, placed = p.waiting.until(
        lambda: jobs.watch(p.database, who, job_id),
        lambda seen: seen.newest > after or seen.final,
        query.wait,
    )
    items = [event_view(event) for event in _news(p, job_id, after)]
    last = items[-1].id if items else after
    ended = sight.final and last >= sight.newest
    view = EventsView(items=items, next=last, ended=ended)
    return view, {} if placed else {"Retry-After": p.waiting.retry_after}


def _last_event_id(default: int) -> int:
    """Return what a stream that is taken up again names.  Raises: RequestError (400)."""
    given = request.headers.get(LAST_EVENT_ID)
    if not given:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) <= 15):
        raise RequestError(400, f"{LAST_EVENT_ID} must be the id of an event, a number")
    return int(given)


def _streamed(p: Parts, who: str, job_id: str, after: int) -> Response:
    sight = jobs.watch(p.database, who, job_id)
    if sight.final and after >= sight.newest:
        # Source: the HTML standard, "server-sent events": 204 tells a client not to come again.
        return current_app.response_class(status=204)
    placed = p.waiting.take()
    response = current_app.response_class(_messages(p, who, job_id, after, placed), mimetype=STREAM)
    if placed:
        response.call_on_close(p.waiting.give_back)
    else:
        response.headers["Retry-After"] = p.waiting.retry_after
    response.headers["X-Accel-Buffering"] = "no"  # of a proxy such as nginx
    return response


def _messages(p: Parts, who: str, job_id: str, after: int, placed: bool) -> Iterator[bytes]:
    """Yield what happens; without a place to wait in only what has, so that the client comes again.

    While the database is away the stream waits: an answer of 503 would end an EventSource.
    """
    yield b"retry: 1000\n\n"
    told, spoken_at = None, time.monotonic()
    going_on = True
    while going_on:
        messages = []
        try:
            sight = jobs.watch(p.database, who, job_id)
            for event in _news(p, job_id, after) if sight.newest > after else ():
                after = event.seq
                messages.append(_message("transition", plain(event_view(event)), after))
                going_on = event.to_state not in FINAL
            if sight.progress != told and sight.state == "running" and going_on:
                messages.append(_message("progress", sight.progress))
                told = sight.progress
        except UnavailableError:
            going_on = p.waiting.pause(OUTAGE_S)
        except NotFoundError:  # deleted
            return
        if not messages and time.monotonic() - spoken_at >= KEEP_ALIVE_S:
            messages.append(b": still here\n\n")
        if messages:
            spoken_at = time.monotonic()
            yield b"".join(messages)
        going_on = going_on and placed and p.waiting.pause(POLL_S)


def _news(p: Parts, job_id: str, after: int) -> list[JobEvent]:
    with p.database.read() as session:
        return jobs.events(session, job_id, after=after)


def _message(kind: str, data: dict[str, Any], number: int | None = None) -> bytes:
    name = "" if number is None else f"id: {number}\n"
    return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
