"""``python -m tests.chaos [--kills N] [--engine sqlite|postgres] [--seed S]``: kill, then check.

Real processes: API, workers, trainers, parsers, broker, ``up``, and with ``postgres`` a private
cluster. A job of each kind runs undisturbed first; its bits are what every later one must have, and
a dataset is what the parser makes of its file in peace. The seed decides whom the nemesis strikes
and in which order; what the machine makes of it is in the history (JSONL), which is kept if
anything was lost.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import select, text

from service.store.database import Database
from service.store.tables import Job
from tests.chaos.checks import History, Report, fingerprint
from tests.chaos.cluster import Cluster, Postgres
from tests.chaos.nemesis import KILLS, Nemesis
from tests.chaos.workload import DONE, NETWORKS, PREDICTED_BY, PREDICTION, Client
from tests.waiting import eventually

END_S = 900.0


def main(arguments):
    """Run; return the exit code: 1, if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--history", type=Path, help="where to keep the history")
    parser.add_argument("--minutes", type=float, default=120.0, help="when to kill no more")
    given = parser.parse_args(arguments)
    if given.engine == "postgres" and not Postgres.is_installed():
        print("SKIPPED: there is no initdb here, so that no PostgreSQL can be killed")
        return 0
    again = f"--kills {given.kills} --engine {given.engine} --seed {given.seed}"
    print(f'make chaos CHAOS="{again}"', flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with ExitStack() as stack:
        history = History(given.history or folder / "history.jsonl")
        cluster = Cluster(folder, given.engine)
        stack.callback(cluster.destroy)
        try:
            code = _run(cluster, history, given, stack)
        except BaseException:
            print(cluster.log()[-5000:], file=sys.stderr)
            print(f"database, log and history are in {folder}", file=sys.stderr)
            raise
    if code:
        print(f"database, log and history are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _run(cluster, history, given, stack):
    began = time.monotonic()
    database = Database(cluster.database_url)
    stack.callback(database.dispose)
    print(_surroundings(database), flush=True)
    cluster.start()
    client = Client(cluster, history, given.seed)
    reference = _undisturbed(client, database)
    history.note("undisturbed", weights={kind: reference[kind][0] for kind in NETWORKS})
    undisturbed_s = time.monotonic() - began
    client.start()
    nemesis = Nemesis(cluster, database, history, given.seed)
    nemesis.run(given.kills, client, 60.0 * given.minutes)
    kills_s = time.monotonic() - began - undisturbed_s
    client.stop()
    client.join(END_S)
    assert not client.is_alive(), f"these do not end: {client.left()}"
    assert client.failure is None, f"the client was refused: {client.failure}"
    ended_s = time.monotonic() - began - undisturbed_s
    report = Report(database, history, client, reference, cluster.folder)
    code, left = cluster.stop()
    if code or left:
        report.problems.append(f"up ended with {code} and left {left}")
    print(f"{undisturbed_s:.0f} s in peace; {nemesis.kills} kills in {kills_s:.0f} s, ", end="")
    print(f"all had ended after {ended_s:.0f} s; {time.monotonic() - began:.0f} s in all")
    _tell(report, nemesis, client)
    return int(bool(report.problems))


def _undisturbed(client, database):
    """Do one job of each kind in peace.  Returns: {kind: its bits}."""
    client.prepare()
    _end_all(client, "ready")
    ids = {kind: client.submit(kind) for kind in NETWORKS}
    _end_all(client, "succeeded")
    with database.read() as session:
        of_job = select(Job.model_id).where(Job.id == ids[PREDICTED_BY])
        client.model_is(session.scalar(of_job))
    ids[PREDICTION] = client.submit(PREDICTION)
    _end_all(client, "succeeded")
    with database.read() as session:
        return {kind: fingerprint(session, session.scalar(_job(ids[kind]))) for kind in ids}


def _job(job_id):
    return select(Job).where(Job.id == job_id)


def _end_all(client, wanted):
    """Wait until nothing is under way, and all of it has ended well."""

    def ended():
        states = {state for state in client.look().values() if state in DONE}
        assert states <= {wanted}, f"undisturbed, {states}"
        return not client.left()

    eventually(ended, within_s=END_S, every_s=0.3)


def _surroundings(database):
    """Say what it runs on."""
    name = database.engine.dialect.name
    asks = "SELECT sqlite_version()" if name == "sqlite" else "SHOW server_version"
    with database.read() as session:
        engine = f"{name} {session.scalar(text(asks))}"
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    machine = f"{len(os.sched_getaffinity(0))} cores, {gib:.0f} GiB, {platform.system()}"
    return f"commit {told or 'unknown'}, {engine}, Python {platform.python_version()}, {machine}"


def _tell(report, nemesis, client):
    def listed(counts, names):
        return ", ".join(f"{name} {counts[name]}" for name in names if counts.get(name))

    print(f"killed: {listed(nemesis.done, KILLS)}")
    print(f"and: {listed(nemesis.done, [name for name in nemesis.done if name not in KILLS])}")
    print(
        f"{len(client.jobs)} jobs and {len(client.datasets)} datasets acknowledged; all jobs: "
        f"{listed(report.states, report.states)}; {report.attempts} attempts, {report.units} units"
    )
    print(f"with the undisturbed bits: {listed(report.identical, sorted(report.identical))}")
    for target, waits in sorted(report.recoveries.items()):
        waits.sort()
        median, p99 = waits[len(waits) // 2], waits[min(len(waits) - 1, int(0.99 * len(waits)))]
        told = f"median {median:.1f} s, p99 {p99:.1f} s, most {waits[-1]:.1f} s"
        print(f"recovery after {target}: {told}, of {len(waits)}")
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    print("nothing was lost" if not report.problems else f"{len(report.problems)} problems")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
