"""What a chaos run kills: ``up`` with its children, a second worker, a PostgreSQL of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

from service.store import migrate
from tests.chaos.calls import KEY, Http, Unknown
from tests.processes import clean_environment, group
from tests.waiting import eventually

BINARIES = Path("/usr/lib/postgresql")
START_S = 120.0


class Postgres:
    """A private cluster, made by initdb; as root it runs under the account of Debian's package."""

    def __init__(self, folder):
        self._bin = max(BINARIES.glob("*/bin"), key=lambda path: int(path.parent.name))
        self._data = folder / "postgres"
        self._data.mkdir()
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self._data, "postgres")
            folder.chmod(0o755)
        self._port = Http.free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()

    @staticmethod
    def is_installed():
        return any(BINARIES.glob("*/bin/initdb"))

    def start(self):
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        arguments = ("-D", self._data, "-l", self._data / "log", "-w", "-o", options, "start")
        eventually(lambda: self._run("pg_ctl", *arguments, check=False) == 0, every_s=0.5)

    def kill(self):
        """End it without a word: SIGKILL, or what an immediate stop does."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, random.choice([signal.SIGKILL, signal.SIGQUIT]))
        eventually(lambda: not Path(f"/proc/{pid}").exists())

    def stop(self):
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop", check=False)

    def _run(self, program, *arguments, check=True):
        command = [*self._as, str(self._bin / program), *map(str, arguments)]
        quiet = subprocess.DEVNULL
        return subprocess.run(command, check=check, cwd="/", stdout=quiet, stderr=quiet).returncode


class Cluster:
    """``chainrule up``, and a worker beside it whose lease must run out when it dies."""

    def __init__(self, folder, engine):
        self._folder = folder
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

    def trainers(self):
        """The trainers of both workers: {pid: whether it is one of ``up``'s}."""
        found = {}
        for leader, ours in ((self.up.pid, True), (self.other.pid, False)):
            for pid, command in group(leader).items():
                if "worker.trainer" in command:
                    found[pid] = ours
        return found

    def flush(self):
        """Have the broker forget everything."""
        with suppress(redis.RedisError, OSError):
            redis.Redis(unix_socket_path=str(self._socket), socket_timeout=1.0).flushall()

    def stop(self):
        """End all as a user would; return the exit code of ``up``, and what was left of it."""
        for process in (self.other, self.up):
            process.send_signal(signal.SIGTERM)
        code = self.up.wait(60)
        self.other.wait(60)
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

    def log(self):
        return (self._folder / "log").read_text(errors="replace")

    def _start(self, module, settings):
        with (self._folder / "log").open("ab") as log:
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
