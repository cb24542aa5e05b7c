"""What tests of the store start from: a dataset, queued jobs, and attempts under way."""

from __future__ import annotations

import hashlib
import time

from sqlalchemy import select, text

from service.actions import jobs
from service.actions.plans import Plan
from service.ids import new_id
from service.store import blobs, transitions
from service.store.tables import Dataset, Job, JobEvent


class Ring:
    """A bell that remembers."""

    def __init__(self):
        self.rung = []

    def ring(self, job_id):
        self.rung.append(job_id)


class Scene:
    """Writes what a test needs, and reads what came of it."""

    def __init__(self, database):
        self.database = database
        self.bell = Ring()

    def dataset(self, content=b"a,b\n1,2\n", tenant="default"):
        """Store bytes as a dataset that was never parsed."""
        staged = blobs.stage(self.database, content)

        def act(uow):
            blobs.attach(uow.session, staged)
            row = Dataset(
                id=new_id("ds"),
                tenant_id=tenant,
                name="data",
                format="csv",
                state="ready",
                rows=1,
                bytes=staged.bytes,
                sha256=staged.sha256,
                blob=staged.sha256,
                prepared=staged.sha256,
                schema={},
                created_at=time.time(),
            )
            uow.session.add(row)
            return row

        return self.database.transact(act)

    def job(self, steps=10, tenant="default"):
        """Queue a job."""
        plan = Plan(
            tenant=tenant,
            dataset_id=self._any_dataset(tenant).id,
            architecture_id=None,
            name="job",
            config={"training": {"max_seconds": None}},
            recipe={},
            summary={},
            rows={},
            epochs=2,
            steps=steps,
            memory_bytes=1,
            seconds=1.0,
        )
        return self.database.transact(lambda uow: jobs.enqueue(uow, plan, self.bell)).id

    def running(self, **options):
        """Queue a job and begin its first attempt."""
        return self.claim(self.job(**options))

    def claim(self, job_id, worker="w1", now=None):
        now = time.time() if now is None else now
        return self.database.transact(
            lambda uow: transitions.claim(uow.session, job_id, worker=worker, now=now)
        )

    def commit(self, claim, prev, step, *, loss=1.0, epoch=0, data=None, rows=()):
        data = data if data is not None else f"{claim.job_id} {step}".encode()
        return blobs.attached(
            self.database,
            lambda: blobs.stage(self.database, data),
            lambda uow, staged: transitions.commit_unit(
                uow.session,
                claim.job_id,
                claim.attempt,
                prev=prev,
                step=step,
                epoch=epoch,
                blob=staged,
                loss=loss,
                metrics_rows=rows,
            ),
        )

    def succeed(self, claim, step, *, early=False, bundle=b"bundle", metrics=None, evaluation=None):
        def act(uow, staged):
            model = transitions.NewModel(
                bundle=staged,
                spec={"layers": []},
                recipe=None,
                fingerprint="f",
                weights_sha256=hashlib.sha256(bundle).hexdigest(),
                evaluation=evaluation,
            )
            return transitions.succeed(
                uow.session,
                claim.job_id,
                claim.attempt,
                step=step,
                metrics=metrics or {},
                model=model,
                early=early,
            )

        return blobs.attached(self.database, lambda: blobs.stage(self.database, bundle), act)

    def act(self, transition, claim, *arguments):
        """Run a transition of an attempt, such as ``release``."""
        return self.database.transact(
            lambda uow: transition(uow.session, claim.job_id, claim.attempt, *arguments)
        )

    def cancel(self, job_id, tenant="default"):
        return self.database.transact(lambda uow: transitions.cancel(uow.session, job_id, tenant))

    def sql(self, statement, **values):
        """Run a statement as somebody who knows nothing of transitions; return its rows, if any."""

        def act(uow):
            result = uow.session.execute(text(statement), values)
            return result.all() if result.returns_rows else []

        return self.database.transact(act)

    def row(self, job_id):
        with self.database.read() as session:
            return session.execute(select(Job).where(Job.id == job_id)).scalar_one()

    def history(self, job_id):
        """Return the job's changes of state, such as ``queued>running``."""
        with self.database.read() as session:
            wanted = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
            return [f"{e.from_state}>{e.to_state}" for e in session.scalars(wanted)]

    def count(self, table):
        with self.database.read() as session:
            return len(session.scalars(select(table)).all())

    def _any_dataset(self, tenant):
        with self.database.read() as session:
            found = session.scalar(select(Dataset).where(Dataset.tenant_id == tenant).limit(1))
        return found or self.dataset(f"data of {tenant}".encode(), tenant)
