import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from service.parsing import Parser
from service.settings import Settings
from service.store.database import Database
from tests import training_jobs
from tests.waiting import eventually
from worker.dispatch import Dispatch
from worker.supervisor import Supervisor


@pytest.fixture(scope="module")
def parser(tmp_path_factory):
    parser = Parser()
    path = tmp_path_factory.mktemp("parser") / "first"  # its thread is there before any test's
    path.write_text("a\n1\n")
    parser.parse(path, "csv")
    yield parser
    parser.close()


class Slots:
    """The part of a worker that trains, in this process: a supervisor, one slot, real trainers."""

    def __init__(self, database, settings):
        self.database = database
        self.supervisor = Supervisor(database, settings, "test")
        self.dispatch = Dispatch(1, self.supervisor.run, self.supervisor.next_queued)
        self.dispatch.start()
        eventually(lambda: self.dispatch.free)

    @property
    def trainer(self):
        """The trainer at work, or None."""
        attempts = list(self.supervisor._attempts)
        return attempts[0]._trainer if attempts else None

    @property
    def at_work(self):
        """The jobs that attempts are made at."""
        return [attempt._claim.job_id for attempt in list(self.supervisor._attempts)]

    def begin(self, job_id):
        """Offer a job to the slot once it would hear of it: while it waits, or has another."""
        eventually(lambda: self.dispatch.free or self.supervisor._attempts)
        self.dispatch.offer(job_id)

    def run(self, job_id):
        """Run a job to its end and return it."""
        self.begin(job_id)
        return self.end_of(job_id)

    def end_of(self, job_id):
        def look():
            self.dispatch.poll()  # a job that waits after a crash
            return training_jobs.is_final(self.database, job_id)

        eventually(look, every_s=0.05)
        # Its trainer is still there for a moment, and would be taken for that of the next job.
        eventually(lambda: job_id not in self.at_work)
        return training_jobs.read(self.database, job_id)

    def stop(self):
        self.supervisor.release()
        assert self.dispatch.stop(30)


@pytest.fixture
def settings(tmp_path, database_url):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    return Settings.from_env(
        {"CHAINRULE_DATA_DIR": str(data_dir), "CHAINRULE_DATABASE_URL": database_url}
    )


@pytest.fixture
def new_slots(database, settings):
    """Make slots, with settings of one's own, and perhaps another way to the database."""
    made = []

    def make(through=None, **changes):
        made.append(Slots(through or database, replace(settings, **changes)))
        return made[-1]

    yield make
    for slots in made:
        slots.stop()


@pytest.fixture
def slots(new_slots):
    return new_slots()


@pytest.fixture(scope="session")
def undisturbed(sqlite_template, tmp_path_factory):
    """A job of a few seconds, run without any disturbance: its model's hash and its epochs."""
    with _own_slots(sqlite_template, tmp_path_factory.mktemp("undisturbed")) as slots:
        job_id = training_jobs.submit_slow(slots.database, epochs=training_jobs.FEW_EPOCHS)
        return _outcome(slots, job_id)


@pytest.fixture(scope="session")
def undisturbed_warm(sqlite_template, tmp_path_factory):
    """The same of a job that begins with the model of a short one."""
    folder = tmp_path_factory.mktemp("undisturbed_warm")
    with _own_slots(sqlite_template, folder) as slots:
        source = slots.run(training_jobs.submit_slow(slots.database, epochs=1))
        warm = training_jobs.submit_warm(slots.database, {"model_id": source.model_id})
        return _outcome(slots, warm)


@contextmanager
def _own_slots(sqlite_template, folder):
    path = folder / "chainrule.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    settings = Settings.from_env(
        {"CHAINRULE_DATA_DIR": str(folder), "CHAINRULE_DATABASE_URL": database.url}
    )
    slots = Slots(database, settings)
    yield slots
    slots.stop()
    database.dispose()


def _outcome(slots, job_id):
    """Run a job; return its model's hash, its bundle and its epochs."""
    slots.run(job_id)
    model, bundle = training_jobs.model(slots.database, job_id)
    return model.weights_sha256, bundle, training_jobs.epochs(slots.database, job_id)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Threads of a test end with it, but for daemons that wait for a dying pipe."""
    before = set(threading.enumerate())
    yield
    eventually(lambda: not {t for t in threading.enumerate() if not t.daemon} - before)
