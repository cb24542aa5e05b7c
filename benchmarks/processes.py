"""The memory of every process of a stack while something runs."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from pathlib import Path

__all__ = ["Memory"]

# What a role's command has in it; the first that fits. Other processes go by their program's name.
ROLES = {
    "parser": b"service.parsing",
    "trainer": b"-m\0worker.trainer",
    "API": b"-m\0service\0",
    "worker": b"-m\0worker\0",
    "up": b"-m\0worker.up\0",
    "broker": b"broker.sock",
}


class Memory:
    """Samples RssAnon + RssShmem of a session's processes; ``peaks`` has each role's (MB).

    ``phase`` may be set at any time; ``by_phase`` has the peaks within each.
    """

    def __init__(self, session: int, sample_s: float) -> None:
        self._session = session
        self._sample_s = sample_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.phase = ""
        self.by_phase: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def peaks(self) -> dict[str, float]:
        """The most that any process of each role had."""
        found: dict[str, float] = {}
        for roles in self.by_phase.values():
            for role, peak in roles.items():
                found[role] = max(found.get(role, 0.0), peak)
        return found

    def _watch(self) -> None:
        while not self._ending.wait(self._sample_s):
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    fields = (place / "stat").read_text("utf-8").rpartition(")")[2].split()
                    if int(fields[3]) == self._session:
                        self._look(place)
                except (FileNotFoundError, ProcessLookupError):
                    continue

    def _look(self, place: Path) -> None:
        command = (place / "cmdline").read_bytes() + b"\0"
        program = Path(command.partition(b"\0")[0].decode()).name
        role = next((role for role, word in ROLES.items() if word in command), program)
        kinds = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+)", (place / "status").read_text(), re.M)
        if private := sum(map(int, kinds)) * 1024 / 1e6:  # 0: it has ended, or not yet begun
            peaks = self.by_phase[self.phase]
            peaks[role] = max(peaks[role], private)
