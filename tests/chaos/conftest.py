import os
import signal
from contextlib import ExitStack

import pytest

from service.store.database import Database
from tests import training_jobs
from tests.processes import group, of_group, process
from tests.waiting import eventually


class WorkerProcess:
    """``python -m worker`` on the test's database."""

    def __init__(self, running, log, database):
        self.process = running
        self.log = log
        self.database = database

    @property
    def pid(self):
        return self.process.pid

    def trainers(self):
        """The pids of its trainers."""
        return of_group(self.pid, "worker.trainer")

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        eventually(lambda: not group(self.pid), within_s=20)


@pytest.fixture
def new_worker(database, database_url, tmp_path):
    """Start worker processes; nothing of them is left after the test."""
    with ExitStack() as stack:

        def make(*arguments, redis_url="redis://127.0.0.1:1/0", trainers=1, name="data"):
            log = tmp_path / f"{name}.log"
            running = stack.enter_context(
                process(
                    "worker",
                    *arguments,
                    log=log,
                    DATA_DIR=tmp_path / name,
                    DATABASE_URL=database_url,
                    REDIS_URL=redis_url,
                    TRAINERS=trainers,
                )
            )
            return WorkerProcess(running, log, database)

        yield make


@pytest.fixture(scope="session")
def undisturbed(sqlite_template, tmp_path_factory):
    """The same job run by a worker that nobody disturbs: hash, bundle and epochs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "chainrule.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    job_id = training_jobs.submit_slow(database, epochs=training_jobs.FEW_EPOCHS)
    with process(
        "worker",
        log=folder / "log",
        DATA_DIR=folder,
        DATABASE_URL=database.url,
        TRAINERS=1,
    ):
        eventually(lambda: training_jobs.is_final(database, job_id))
    model, bundle = training_jobs.model(database, job_id)
    epochs = training_jobs.epochs(database, job_id)
    database.dispose()
    return model.weights_sha256, bundle, epochs
