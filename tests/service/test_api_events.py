"""``/v1/jobs/{id}/events`` and ``Prefer: wait``: hearing of a job without asking all the time."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from service.api import events
from service.api.server import Server
from service.api.waiting import Waiting
from service.store import transitions
from tests.api_testing import trained, training
from tests.waiting import eventually


@contextmanager
def serving(api):
    """The application behind waitress, on an address of its own."""
    waiting = api.client.application.extensions["chainrule"].waiting
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(api.client.application, listening, api.settings, at_end=waiting.end)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield listening.getsockname(), server, thread
        finally:
            server.stop()
            thread.join(10)


class Stream:
    """An EventSource, as far as a test needs one."""

    def __init__(self, api, address, job_id, last=None):
        self.connection = http.client.HTTPConnection(*address, timeout=20)
        headers = {"Authorization": f"Bearer {api.key}", "Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        self.connection.request("GET", f"/v1/jobs/{job_id}/events", headers=headers)
        self.answer = self.connection.getresponse()

    def messages(self):
        """Yield {event, id, data}, and comments as they are."""
        lines = []
        for raw in self.answer:
            line = raw.decode().rstrip("\n")
            if line:
                lines.append(line)
                continue
            fields = dict(text.split(": ", 1) for text in lines if not text.startswith(":"))
            if "data" in fields:
                fields["data"] = json.loads(fields["data"])
            yield fields or lines[0]
            lines = []

    def transitions(self):
        for message in self.messages():
            if "event" in message and message["event"] == "transition":
                yield message

    def close(self):
        self.connection.close()


def read(api, job_id, **query):
    answer = api.get(f"/v1/jobs/{job_id}/events", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def act(api, transition, job_id, *arguments):
    return api.database.transact(lambda uow: transition(uow.session, job_id, *arguments))


def claim(api, job_id):
    now = time.time()
    return api.database.transact(
        lambda uow: transitions.claim(uow.session, job_id, worker="here", now=now)
    )


def test_events_are_read_from_any_point_on(api):
    job_id = trained(api)["id"]
    everything = read(api, job_id)
    states = [event["to_state"] for event in everything["items"]]
    assert states == ["queued", "running", "succeeded"]
    ids = [event["id"] for event in everything["items"]]
    assert ids == sorted(set(ids))
    assert (everything["next"], everything["ended"]) == (ids[-1], True)
    for number, seen in enumerate(ids):
        later = read(api, job_id, after=seen)
        assert later["items"] == everything["items"][number + 1 :]
        assert later["ended"]
    assert set(everything["items"][0]) == {
        "id", "from_state", "to_state", "attempt", "at", "detail",
    }  # fmt: skip


def test_a_poll_waits_for_the_next_event_and_no_longer(api):
    job_id = api.submit()["id"]
    first = read(api, job_id)
    assert not first["ended"]
    started = time.monotonic()
    assert read(api, job_id, after=first["next"], wait=1)["items"] == []
    assert 0.9 < time.monotonic() - started < 3
    threading.Timer(0.3, lambda: act(api, transitions.pause, job_id, "default")).start()
    started = time.monotonic()
    found = read(api, job_id, after=first["next"], wait=30)
    assert time.monotonic() - started < 5
    assert [event["to_state"] for event in found["items"]] == ["paused"]
    api.post(f"/v1/jobs/{job_id}/cancel")
    ended = read(api, job_id, after=found["next"], wait=30)
    assert ended["ended"]
    started = time.monotonic()
    assert read(api, job_id, after=ended["next"], wait=30)["items"] == []
    assert time.monotonic() - started < 5, "nothing more can come"


def test_past_the_places_a_poll_is_answered_at_once(api):
    job_id = api.submit()["id"]
    waiting = api.client.application.extensions["chainrule"].waiting
    last = read(api, job_id)["next"]
    while waiting.take():
        pass
    started = time.monotonic()
    answer = api.get(f"/v1/jobs/{job_id}/events?after={last}&wait=30")
    assert (answer.status_code, answer.headers["Retry-After"]) == (200, "1")
    answer = api.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (200, "1")
    stream = api.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"})
    assert stream.text.count("event: transition") == 1
    assert stream.headers["Retry-After"] == "1"
    assert time.monotonic() - started < 5
    waiting.give_back()
    assert read(api, job_id, after=last, wait=1)["items"] == []


@pytest.mark.parametrize("query", ["after=-1", "after=x", "wait=61", "wait=-1", "from=1"])
def test_a_bad_query_is_named(api, query):
    job_id = api.submit()["id"]
    assert api.get(f"/v1/jobs/{job_id}/events?{query}").status_code == 422


@pytest.mark.parametrize("given", ["x", "-1", "1" * 16, "1.5"])
def test_a_bad_last_event_id_is_refused(api, given):
    job_id = api.submit()["id"]
    headers = {"Last-Event-ID": given, "Accept": "text/event-stream"}
    assert api.get(f"/v1/jobs/{job_id}/events", headers=headers).status_code == 400


def test_a_stream_tells_everything_as_it_happens_and_ends(api):
    job_id = api.submit(training={"epochs": 3, "batch_size": 16})["id"]
    with serving(api) as (address, _, _):
        stream = Stream(api, address, job_id)
        assert stream.answer.status == 200
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        messages = stream.messages()
        assert next(messages) == {"retry": "1000"}
        first = next(messages)
        assert (first["event"], first["data"]["to_state"]) == ("transition", "queued")
        for _ in training(api, job_id):
            pass
        rest = list(messages)  # ends by itself
        stream.close()
    states = [m["data"]["to_state"] for m in rest if m["event"] == "transition"]
    assert states == ["running", "succeeded"]
    assert all("id" not in message for message in rest if message["event"] == "progress")
    assert rest[-1]["event"] == "transition"


def test_progress_comes_between_the_events(api):
    job_id = api.submit(training={"epochs": 3, "batch_size": 16})["id"]
    with serving(api) as (address, _, _):
        stream = Stream(api, address, job_id)
        messages = stream.messages()
        progress = (m["data"] for m in messages if m.get("event") == "progress")
        seen = [next(progress) for _ in training(api, job_id)]
        list(messages)
        stream.close()
    assert [data["epoch"] for data in seen] == sorted({data["epoch"] for data in seen})
    assert seen[-1]["epochs"] == 3


def test_a_stream_cut_anywhere_is_taken_up_again_without_a_gap(api):
    job_id = api.submit()["id"]
    heard, last = [], None
    script = [
        lambda: act(api, transitions.pause, job_id, "default"),
        lambda: api.post(f"/v1/jobs/{job_id}/resume"),
        lambda: claim(api, job_id),
        lambda: act(api, transitions.release, job_id, 1),
        lambda: claim(api, job_id),
        lambda: act(api, transitions.fail, job_id, 2, {"code": "diverged"}),
    ]
    with serving(api) as (address, _, _):
        for step in [lambda: None, *script]:
            step()
            stream = Stream(api, address, job_id, last)
            message = next(stream.transitions())
            heard.append(message["data"]["to_state"])
            last = message["id"]
            stream.close()
        over = Stream(api, address, job_id, last)
        assert over.answer.status == 204, "an EventSource comes no more"
        over.close()
    assert heard == ["queued", "paused", "queued", "running", "queued", "running", "failed"]
    events_of = read(api, job_id)["items"]
    assert [event["to_state"] for event in events_of] == heard


def test_a_stream_without_news_stays_alive_and_gives_its_place_back(api, monkeypatch):
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.3)
    job_id = api.submit()["id"]
    waiting = api.client.application.extensions["chainrule"].waiting
    free = waiting._free
    with serving(api) as (address, _, _):
        stream = Stream(api, address, job_id)
        comment = next(m for m in stream.messages() if isinstance(m, str))
        assert comment == ": still here"
        assert waiting._free == free - 1
        stream.answer.close()
        stream.close()
        eventually(lambda: waiting._free == free, within_s=10)


def test_a_stream_of_a_deleted_job_ends(api):
    job_id = api.submit()["id"]
    with serving(api) as (address, _, _):
        stream = Stream(api, address, job_id)
        next(stream.transitions())
        # Both at once, as far as the stream can see: it may hear of the end, or not.
        api.post(f"/v1/jobs/{job_id}/cancel")
        api.call("DELETE", f"/v1/jobs/{job_id}")
        heard = [message["data"]["to_state"] for message in stream.transitions()]
        stream.close()
    assert heard in ([], ["cancelled"])


def test_streams_end_when_the_server_is_told_to(api):
    job_id = api.submit()["id"]
    with serving(api) as (address, server, thread):
        stream = Stream(api, address, job_id)
        last = next(stream.transitions())["id"]
        started = time.monotonic()
        server.stop()
        assert list(stream.transitions()) == []
        thread.join(5)
        assert time.monotonic() - started < 1.5
        stream.close()
    assert read(api, job_id, after=last)["items"] == []


def test_streams_leave_threads_for_others(api):
    job_id = api.submit()["id"]
    with serving(api) as (address, _, _):
        streams = [Stream(api, address, job_id) for _ in range(api.settings.threads + 4)]
        connection = http.client.HTTPConnection(*address, timeout=5)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        for stream in streams:
            assert next(stream.transitions())["data"]["to_state"] == "queued"
            stream.close()


def test_prefer_wait_holds_the_answer_until_the_state_or_the_epoch_changes(api):
    job_id = api.submit(training={"epochs": 2, "batch_size": 16})["id"]
    first = api.get(f"/v1/jobs/{job_id}")
    prefer = {"Prefer": "respond-async, wait=1", "If-None-Match": first.headers["ETag"]}
    started = time.monotonic()
    answer = api.get(f"/v1/jobs/{job_id}", headers=prefer)
    assert answer.status_code == 304
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert 0.9 < time.monotonic() - started < 3

    work = training(api, job_id)
    for epoch in (1, 2):
        prefer = {"Prefer": "wait=30"}
        threading.Timer(0.2, lambda: next(work)).start()
        started = time.monotonic()
        answer = api.get(f"/v1/jobs/{job_id}", headers=prefer)
        if answer.json["progress"]["epoch"] < epoch:  # the claim was seen before the epoch
            prefer["If-None-Match"] = answer.headers["ETag"]
            answer = api.get(f"/v1/jobs/{job_id}", headers=prefer)
        assert answer.json["progress"]["epoch"] == epoch
        assert time.monotonic() - started < 20
    assert list(work) == []
    started = time.monotonic()
    answer = api.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
    assert answer.json["state"] == "succeeded"
    assert time.monotonic() - started < 5


def test_who_waits_looks_often_at_first_and_five_times_a_second_later():
    pauses = []

    class Clocked(Waiting):
        def pause(self, seconds):
            pauses.append(seconds)
            return len(pauses) < 10

    Clocked(1).until(lambda: None, lambda _seen: False, 60.0)
    assert pauses[0] == 0.02
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.2


def test_a_client_that_is_behind_does_not_wait(api):
    job_id = api.submit()["id"]
    old = api.get(f"/v1/jobs/{job_id}").headers["ETag"]
    act(api, transitions.pause, job_id, "default")
    started = time.monotonic()
    headers = {"Prefer": "wait=30", "If-None-Match": old}
    assert api.get(f"/v1/jobs/{job_id}", headers=headers).json["state"] == "paused"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("value", ["wait", "wait=soon", "await=3", "return=minimal"])
def test_a_preference_that_is_none_of_ours_is_ignored(api, value):
    job_id = api.submit()["id"]
    answer = api.get(f"/v1/jobs/{job_id}", headers={"Prefer": value})
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers
