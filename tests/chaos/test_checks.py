"""The checker of a chaos run finds what it is there to find."""

from types import SimpleNamespace

import pytest
from sqlalchemy import select

from service.store.tables import Job
from tests.chaos.checks import History, Report, fingerprint

# The checker reads alike from both engines; ``make chaos`` does.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
KIND = "MLP with dropout"
STEP = (
    "INSERT INTO steps (job_id, step, prev, attempt, epoch, checkpoint_sha256, at) "
    "SELECT id, {step}, {prev}, {attempt}, 0, 'sha', 0 FROM jobs"
)
CLAIM = (
    "INSERT INTO job_events (job_id, attempt, from_state, to_state, who, at, nonce) "
    "SELECT job_id, 3, 'queued', 'running', who, 0, 'n' FROM job_events "
    "WHERE attempt = 1 AND to_state = 'running'"
)


@pytest.fixture
def run(scene, tmp_path):
    """A job done in two attempts, as a run to be checked."""
    scene.dataset()
    claim = scene.running(steps=4)
    scene.commit(claim, 0, 2)
    scene.sql("UPDATE jobs SET state = 'queued', owner = NULL")
    scene.sql(
        "INSERT INTO job_events (job_id, attempt, from_state, to_state, who, at, nonce) "
        "VALUES (:id, 1, 'running', 'queued', 'recovery', 0, 'n')",
        id=claim.job_id,
    )
    again = scene.claim(claim.job_id)
    scene.commit(again, 2, 4)
    assert scene.succeed(again, 4)
    client = SimpleNamespace(jobs={claim.job_id: KIND}, datasets={}, asked=set(), cancelling=set())
    return Run(scene, client, tmp_path)


class Run:
    """Checks a database again and again."""

    def __init__(self, scene, client, folder):
        self.scene = scene
        self.client = client
        self.folder = folder
        self.history = History(folder / "history.jsonl")
        with scene.database.read() as session:
            job = session.scalar(select(Job))
            self.job_id = job.id
            self.reference = {KIND: fingerprint(session, job)}

    def problems(self):
        report = Report(self.scene.database, self.history, self.client, self.reference, self.folder)
        return report.problems

    def sql(self, statement):
        self.scene.sql(statement)


def test_a_run_in_which_nothing_was_lost_has_no_problems(run):
    run.history.note("ended", id=run.job_id, job=run.job_id, state="succeeded")
    report = Report(run.scene.database, run.history, run.client, run.reference, run.folder)
    assert report.problems == []
    assert (report.attempts, report.units, report.identical) == (2, 2, {KIND: 1})


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM steps WHERE step = 2", "2 to 4 after 0"),
        ("DELETE FROM steps WHERE step = 4", "units end at 2, the job at 4"),
        (STEP.format(step=3, prev=1, attempt=2), "1 to 3 after 2"),
        (STEP.format(step=5, prev=4, attempt=1), "a unit of attempt 1 after one of 2"),
        ("UPDATE models SET weights_sha256 = 'other'", "has other bits"),
        ("DELETE FROM checkpoints WHERE step = 4", "the newest checkpoint is of 2"),
        ("DELETE FROM job_events WHERE to_state = 'succeeded'", "its history says running"),
        (CLAIM, "one owner for two"),
        (CLAIM, "attempts [1, 2, 3]"),
    ],
)
def test_what_is_lost_or_done_twice_is_found(run, statement, told):
    run.sql(statement)
    assert any(told in problem for problem in run.problems())


def test_a_job_that_has_not_ended_or_that_nobody_cancelled_is_found(run):
    waits, gone = run.scene.job(), run.scene.job()
    run.scene.cancel(gone)
    found = run.problems()
    assert any(f"{waits} has not ended" in problem for problem in found)
    assert any(f"{gone} was cancelled, and nobody had asked" in problem for problem in found)
    run.client.asked.add(gone)
    assert not any(gone in problem and "nobody" in problem for problem in run.problems())


def test_what_a_client_was_told_is_held_against_the_rows(run):
    run.client.jobs["job_x"] = KIND
    run.client.datasets["ds_x"] = ("table", 1)
    run.client.cancelling.add(run.job_id)
    run.history.note("ended", id=run.job_id, job=run.job_id, state="cancelled")
    run.history.note("read", outcome="unknown", status=500)
    found = "\n".join(run.problems())
    assert "job_x was acknowledged and is not there" in found
    assert "ds_x was acknowledged and is not there" in found
    assert "its cancellation is forgotten" in found
    assert "is succeeded now" in found
    assert "answered 500" in found


def test_one_request_that_made_two_jobs_is_found(run):
    run.scene.job()
    assert any("one request made several: job" in problem for problem in run.problems())
