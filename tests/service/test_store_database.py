"""Sessions and transactions on both engines: snapshots, re-runs, and a COMMIT without an answer."""

from __future__ import annotations

import logging
import stat
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Text, bindparam, func, literal, make_url, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session

from service.actions import architectures, jobs
from service.errors import IncompatibleError, UnavailableError
from service.store import database as database_module
from service.store import engines, transitions
from service.store.database import Database
from service.store.tables import Architecture, Job, Model, Step, Worker


@pytest.fixture
def lose_the_answer(monkeypatch):
    """Make a COMMIT to come go through and its answer get lost, as a cut connection does."""
    lost = []

    class Cut(Session):
        skip = -1

        def commit(self):
            super().commit()
            Cut.skip -= 1
            if Cut.skip == -1:
                lost.append(True)
                cut = ConnectionError("server closed the connection")
                raise DBAPIError("COMMIT", None, cut, connection_invalidated=True)

    monkeypatch.setattr(database_module, "Session", Cut)

    def arm(skip=0):
        Cut.skip = skip
        return lost

    return arm


def test_a_claim_whose_answer_was_lost_is_found_again(scene, lose_the_answer):
    job_id = scene.job()
    lost = lose_the_answer()
    claim = scene.claim(job_id)
    assert lost == [True]
    assert (claim.attempt, claim.owner) == (1, scene.row(job_id).owner)
    assert scene.history(job_id) == ["None>queued", "queued>running"]


def test_a_unit_whose_answer_was_lost_is_committed_once(scene, lose_the_answer):
    claim = scene.running()
    scene.commit(claim, 0, 0, loss=None)
    lost = lose_the_answer(skip=1)  # the first commit is that of the chunk
    row = {name: {"loss": 1.0} for name in ("train", "validation")}
    row |= dict.fromkeys(("learning_rate", "seconds", "samples_per_s"), 1.0)
    rows = [{**row, "epoch": 1, "step": 3}]
    assert scene.commit(claim, 0, 3, rows=rows) == transitions.Signals(False, False)
    assert lost == [True]
    assert scene.row(claim.job_id).step == 3
    assert scene.count(Step) == 1


def test_the_end_whose_answer_was_lost_is_told_all_the_same(scene, lose_the_answer):
    claims = {name: scene.running(steps=1) for name in ("fail", "release", "retry", "reap", "done")}
    scene.commit(claims["done"], 0, 1)
    lost = lose_the_answer()
    assert scene.act(transitions.fail, claims["fail"], {"code": "diverged"})
    lose_the_answer()
    assert scene.act(transitions.release, claims["release"]) == "queued"
    lose_the_answer()
    assert scene.act(transitions.retry, claims["retry"], {"code": "crashed"}) == "queued"
    lose_the_answer()
    assert scene.act(transitions.reap, claims["reap"], 1) == "queued"
    lose_the_answer(skip=1)
    assert scene.succeed(claims["done"], 1)
    assert len(lost) == 5
    assert scene.row(claims["retry"].job_id).crashes == 1
    assert scene.row(claims["reap"].job_id).crashes == 1
    with scene.database.read() as session:
        (model,) = session.scalars(select(Model))
    done = scene.row(claims["done"].job_id)
    assert (done.state, done.model_id) == ("succeeded", model.id)
    for claim in claims.values():
        assert len(scene.history(claim.job_id)) == 3


def test_what_was_created_although_the_answer_was_lost_is_created_once(scene, lose_the_answer):
    scene.dataset()
    lost = lose_the_answer()
    job_id = scene.job()
    assert lost == [True]
    assert scene.count(Job) == 1
    assert scene.history(job_id) == ["None>queued"]
    assert scene.bell.rung == [job_id]

    from chainrule.spec import ArchitectureSpec, parse

    layers = [{"kind": "dense", "units": 2}]
    spec = parse(ArchitectureSpec, {"name": "a", "layers": layers})
    lose_the_answer()
    row = scene.database.transact(lambda uow: architectures.create(uow, "default", spec))
    assert scene.count(Architecture) == 1
    with scene.database.read() as session:
        assert architectures.get(session, "default", row.id).spec == row.spec


def test_pause_resume_and_delete_whose_answers_were_lost_happen_once(scene, lose_the_answer):
    job_id = scene.job()
    transact = scene.database.transact
    lost = lose_the_answer()
    assert transact(lambda uow: jobs.pause(uow, "default", job_id)).state == "paused"
    lose_the_answer()
    assert transact(lambda uow: jobs.resume(uow, scene.bell, "default", job_id)).state == "queued"
    assert scene.history(job_id) == ["None>queued", "queued>paused", "paused>queued"]
    scene.cancel(job_id)
    lose_the_answer()
    transact(lambda uow: jobs.delete(uow, "default", job_id))
    assert len(lost) == 3
    assert scene.count(Job) == 0


def test_a_cancel_whose_answer_was_lost_is_not_a_conflict(scene, lose_the_answer):
    job_id = scene.job()
    lose_the_answer()
    job = scene.database.transact(lambda uow: jobs.cancel(uow, "default", job_id))
    assert job.state == "cancelled"


def test_a_closure_runs_again_from_the_start_after_a_transient_error(database):
    runs = []

    def act(uow):
        runs.append(uow.keep("id", lambda: f"id-{len(runs)}"))
        uow.after_commit(lambda: runs.append("rung"))
        if len(runs) < 3:
            raise DBAPIError("x", None, ConnectionError(), connection_invalidated=True)
        return "done"

    assert database.transact(act) == "done"
    assert runs == ["id-0", "id-0", "id-0", "rung"]


def test_an_error_of_ours_is_not_tried_again_and_rings_nothing(scene):
    runs = []

    def act(uow):
        runs.append(1)
        uow.session.execute(text("UPDATE jobs SET name = 'changed'"))
        uow.after_commit(lambda: runs.append("rung"))
        raise KeyError("ours")

    scene.job()
    with pytest.raises(KeyError):
        scene.database.transact(act)
    assert runs == [1]
    assert scene.sql("SELECT name FROM jobs") == [("job",)]


def test_a_hook_that_fails_does_not_undo_the_commit(database, caplog):
    def act(uow):
        uow.after_commit(lambda: 1 / 0)
        return "done"

    with caplog.at_level(logging.ERROR):
        assert database.transact(act) == "done"
    assert "a hook after a commit failed" in caplog.text


def test_a_reader_sees_one_snapshot_beside_a_writer(scene):
    scene.job()
    names = select(Job.name)
    with scene.database.read() as session:
        assert session.scalars(names).all() == ["job"]
        scene.sql("UPDATE jobs SET name = 'changed'")  # nobody waits for the reader
        assert session.scalars(names).all() == ["job"]
    with scene.database.read() as session:
        assert session.scalars(names).all() == ["changed"]


def test_a_glance_sees_what_is_there_now_and_holds_nothing(scene):
    look = select(Job.name, Job.step, Job.dataset_id).where(Job.id == bindparam("job_id"))
    job_id = scene.job()
    row = scene.row(job_id)
    assert scene.database.glance(look, job_id=job_id) == ("job", 0, row.dataset_id)
    scene.sql(
        "UPDATE jobs SET name = 'changed', dataset_id = NULL, state = 'cancelled', ended_at = 1"
    )
    assert scene.database.glance(look, job_id=job_id) == ("changed", 0, None)
    assert scene.database.glance(look, job_id="job_none") is None


def test_a_glance_over_a_lost_connection_goes_another_way(postgres_url):
    store, other = Database(postgres_url), Database(postgres_url)
    look = select(func.pg_backend_pid(), literal("x") + bindparam("more", type_=Text))
    pid, told = store.glance(look, more="y")
    assert told == "xy"
    end = text(f"SELECT pg_terminate_backend({pid}, 5000)")
    other.transact(lambda uow: uow.session.execute(end))
    assert store.glance(look, more="z")[1] == "xz"
    assert store.glance(look, more="z")[0] != pid
    store.dispose()
    other.dispose()


def test_a_reader_goes_on_while_a_writer_holds_the_lock(scene):
    scene.job()
    inside, leave = threading.Event(), threading.Event()

    def act(uow):
        uow.session.execute(text("UPDATE jobs SET name = 'changed'"))
        inside.set()
        leave.wait(5)

    writer = threading.Thread(target=scene.database.transact, args=(act,))
    writer.start()
    assert inside.wait(5)
    with scene.database.read() as session:
        assert session.scalars(select(Job.name)).all() == ["job"]
    leave.set()
    writer.join()
    assert scene.sql("SELECT name FROM jobs") == [("changed",)]


def test_many_writers_lose_no_update(database_url):
    stores = [Database(database_url, retry_s=30) for _ in range(2)]  # as two processes would
    add = Worker(id="w", started_at=0, seen_at=0, trainers=0, info={})
    stores[0].transact(lambda uow: uow.session.add(add))

    def count(uow):
        uow.session.execute(text("UPDATE workers SET trainers = trainers + 1"))

    def go(store):
        for _ in range(15):
            store.transact(count)

    threads = [threading.Thread(target=go, args=(store,)) for store in stores for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stores[0].read() as session:
        assert session.scalar(select(Worker.trainers)) == 90
    for store in stores:
        store.dispose()


def test_nan_does_not_reach_a_json_column(database):
    worker = Worker(id="w", started_at=0, seen_at=0, trainers=0, info={"x": float("nan")})
    with pytest.raises((StatementError, ValueError), match="not JSON compliant"):
        database.transact(lambda uow: uow.session.add(worker))


def test_sqlite_is_private_durable_and_checks_its_keys(sqlite_url):
    store = Database(sqlite_url.replace("chainrule.db", "new.db"))
    with store.read() as session:
        pragmas = {name: session.scalar(text(f"PRAGMA {name}")) for name in engines.PRAGMAS}
    store.dispose()
    full = 2
    assert pragmas == {
        "busy_timeout": 5000,
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "trusted_schema": 0,
    }
    path = Path(make_url(store.url).database)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_old_sqlite_is_refused(monkeypatch):
    monkeypatch.setattr(engines, "SQLITE_FLOOR", (99, 0, 0))
    with pytest.raises(IncompatibleError, match=r"SQLite must be 3\.51\.3 or later"):
        Database("sqlite:////tmp/nowhere.db")


@pytest.mark.parametrize("url", ["mysql://x", "sqlite://", "oracle://x/y"])
def test_another_database_is_refused(url):
    with pytest.raises(IncompatibleError, match="must be a postgresql"):
        Database(url)


def test_a_network_disk_is_refused_for_sqlite(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"/dev/a / ext4 rw\nb {tmp_path} nfs4")
    with pytest.raises(IncompatibleError, match="is nfs4"):
        Database(f"sqlite:///{tmp_path}/x.db")


def test_a_locked_sqlite_is_unavailable_and_not_an_error_of_ours(sqlite_url, monkeypatch):
    monkeypatch.setitem(engines.PRAGMAS, "busy_timeout", 50)
    holder, waiter = Database(sqlite_url), Database(sqlite_url, retry_s=0.3)

    def hold(uow):
        uow.session.execute(text("SELECT 1")).all()  # a transaction begins with its first statement
        before = time.monotonic()
        with pytest.raises(UnavailableError, match="does not answer"):
            waiter.transact(lambda uow: uow.session.execute(text("SELECT 1")).all())
        assert time.monotonic() - before < 3
        waiter.ping()  # reading goes on

    holder.transact(hold)
    waiter.transact(lambda uow: uow.session.execute(text("SELECT 1")).all())
    holder.dispose()
    waiter.dispose()


def test_a_postgres_that_is_not_there_is_unavailable():
    store = Database("postgresql://nobody@127.0.0.1:1/nowhere", retry_s=0.1)
    with pytest.raises(UnavailableError):
        store.glance(select(Job.name))
    with pytest.raises(UnavailableError):
        store.ping()
    with pytest.raises(UnavailableError):
        store.transact(lambda uow: uow.session.execute(text("SELECT 1")))


def test_a_connection_that_the_server_ends_is_replaced(postgres_url):
    store, other = Database(postgres_url), Database(postgres_url)
    runs = []

    def act(uow):
        pid = uow.session.scalar(text("SELECT pg_backend_pid()"))
        runs.append(pid)
        if len(runs) == 1:
            end = text(f"SELECT pg_terminate_backend({pid})")
            other.transact(lambda second: second.session.execute(end))
        return uow.session.scalar(text("SELECT 42"))

    assert store.transact(act) == 42
    assert len(runs) == 2
    assert runs[0] != runs[1]
    store.dispose()
    other.dispose()


def test_a_connection_that_died_idle_is_replaced_before_it_is_used(postgres_url, monkeypatch):
    store, other = Database(postgres_url), Database(postgres_url)

    def kill():
        with store.read() as session:
            pid = session.scalar(text("SELECT pg_backend_pid()"))
        end = text(f"SELECT pg_terminate_backend({pid}, 5000)")
        other.transact(lambda uow: uow.session.execute(end))

    kill()
    with pytest.raises(UnavailableError):
        store.ping()  # it was used just now, so it is not asked
    store.ping()
    kill()
    monkeypatch.setattr(engines, "TRUSTED_S", -1.0)
    store.ping()
    store.dispose()
    other.dispose()


def test_postgres_gives_up_on_locks_and_statements_in_time(postgres_url):
    store = Database(postgres_url)
    wanted = {
        "lock_timeout": "2s",
        "statement_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
    }
    got = store.transact(
        lambda uow: {name: uow.session.scalar(text(f"SHOW {name}")) for name in wanted}
    )
    assert got == wanted
    with store.read() as session:
        assert session.scalar(text("SHOW transaction_isolation")) == "repeatable read"
        assert session.scalar(text("SHOW transaction_read_only")) == "on"
    store.dispose()
