"""``python -m tests.chaos [--kills N] [--engine sqlite|postgres] [--seed S]``: kill, then check.

Real processes: API, workers, trainers, broker, ``up``, and with ``postgres`` a private cluster.
Jobs of three kinds run undisturbed first; their bits are what every later one must have. The seed
decides whom the nemesis kills and when; what the machine makes of it is in the history (JSONL).
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from service.store.database import Database
from tests.chaos.checks import History, Report, fingerprint
from tests.chaos.cluster import Cluster, Postgres
from tests.chaos.nemesis import Nemesis
from tests.chaos.workload import NETWORKS, Client
from tests.waiting import eventually

END_S = 600.0


def main(arguments):
    """Run; return the exit code: 1, if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--history", type=Path, help="where to keep the history")
    given = parser.parse_args(arguments)
    if given.engine == "postgres" and not Postgres.is_installed():
        print("there is no initdb here: PostgreSQL cannot be killed, nothing was run")
        return 2
    again = f"--kills {given.kills} --engine {given.engine} --seed {given.seed}"
    print(f'make chaos CHAOS="{again}"', flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, ExitStack() as stack:
        folder = Path(name)
        history = History(given.history or folder / "history.jsonl")
        cluster = Cluster(folder, given.engine)
        stack.callback(cluster.destroy)
        try:
            return _run(cluster, history, given, stack)
        except BaseException:
            print(cluster.log()[-5000:], file=sys.stderr)
            raise


def _run(cluster, history, given, stack):
    began = time.monotonic()
    database = Database(cluster.database_url)
    stack.callback(database.dispose)
    cluster.start()
    client = Client(cluster, history, given.seed)
    client.upload()
    reference = _undisturbed(client, database)
    history.note("undisturbed", weights={kind: bits[0] for kind, bits in reference.items()})
    undisturbed_s = time.monotonic() - began
    client.start()
    nemesis = Nemesis(cluster, database, history, given.seed)
    nemesis.run(given.kills, client)
    client.stop()
    client.join(END_S)
    assert not client.is_alive(), "there are jobs that do not end"
    assert client.failure is None, f"the client was refused: {client.failure}"
    report = Report(database, history, client.kinds, reference)
    code, left = cluster.stop()
    if code or left:
        report.problems.append(f"up ended with {code} and left {left}")
    _tell(report, nemesis, client, undisturbed_s, time.monotonic() - began)
    return int(bool(report.problems))


def _undisturbed(client, database):
    """Train one job of each kind in peace.  Returns: {kind: its bits}."""
    ids = {kind: client.submit(kind) for kind in NETWORKS}
    done = {}

    def all_ended():
        done.update({job: state for job, state in client.look().items() if state != "queued"})
        return all(done.get(job) in ("succeeded", "failed") for job in ids.values())

    eventually(all_ended, within_s=END_S, every_s=0.3)
    assert set(done.values()) == {"succeeded"}, done
    with database.read() as session:
        return {kind: fingerprint(session, job_id) for kind, job_id in ids.items()}


def _tell(report, nemesis, client, undisturbed_s, seconds):
    killed = ", ".join(f"{target} {n}" for target, n in sorted(nemesis.killed.items()) if n)
    print(f"{sum(nemesis.killed.values())} kills in {seconds - undisturbed_s:.0f} s: {killed}")
    states = ", ".join(f"{n} {state}" for state, n in report.states.items() if n)
    print(f"{len(client.kinds)} jobs acknowledged: {states}; {report.attempts} attempts")
    print(f"{report.units} units, each once; {report.identical} models with the undisturbed bits")
    for target, waits in sorted(report.recoveries.items()):
        waits.sort()
        worst = waits[min(len(waits) - 1, int(0.99 * len(waits)))]
        print(f"recovery after {target}: median {waits[len(waits) // 2]:.1f} s, p99 {worst:.1f} s")
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    print("nothing was lost" if not report.problems else f"{len(report.problems)} problems")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
