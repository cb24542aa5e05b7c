"""H2O-3 as a user of its REST API meets it: one Java process of our own.

Source: the routes that a running one lists under /3/Metadata/endpoints.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

__all__ = ["H2O", "missing"]

_START_S, _POLL_S = 120.0, 0.005
_HEAP = "-Xmx2g"


def missing() -> str:
    """Return what is not here of what H2O needs, or nothing."""
    if not shutil.which("java"):
        return "Java"
    return "" if _jar() else "h2o's jar (pip install h2o, or its path in H2O_JAR)"


def _jar() -> Path | None:
    found = importlib.util.find_spec("h2o")
    inside = Path(found.origin).parent / "backend" / "bin" / "h2o.jar" if found else None
    given = os.environ.get("H2O_JAR")
    return Path(given) if given else inside


class H2O:
    """A server on this machine, with as many threads as cores; ``start_s`` is what it took."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        started = time.perf_counter()
        options = ["-ip", "127.0.0.1", "-port", str(port), "-name", f"bench-{port}"]
        with (self._folder / "h2o.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["java", _HEAP, "-jar", str(_jar()), *options, "-ice_root", str(self._folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self._is_up():
            if time.perf_counter() - started > _START_S:
                raise SystemExit("H2O does not start")
            time.sleep(0.05)
        self.start_s = time.perf_counter() - started
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def upload(self, path: Path, target: str) -> str:
        """Send a CSV file and have it parsed, the target as classes; return the frame's name."""
        raw = f"{path.stem}.csv"
        self._call("POST", f"/3/PostFile?destination_frame={raw}", path.read_bytes())
        names = path.open(encoding="utf-8").readline().strip().split(",")
        setup = self._call("POST", "/3/ParseSetup", {"source_frames": [raw], "check_header": 1})
        types = ["Enum" if name == target else "Numeric" for name in names]
        parse: dict[str, Any] = {key: setup[key] for key in ("separator", "number_columns")}
        parse |= {"source_frames": [raw], "destination_frame": path.stem, "check_header": 1}
        parse |= {"column_names": names, "column_types": types, "parse_type": "CSV"}
        self._wait(self._call("POST", "/3/Parse", parse)["job"])
        return path.stem

    def train(self, frame: str, target: str, hidden: list[int], epochs: int, batch: int) -> str:
        """Train a network and return the model's name."""
        asked: dict[str, Any] = {
            "training_frame": frame,
            "response_column": target,
            "hidden": hidden,
        }
        asked |= {"activation": "Rectifier", "epochs": epochs, "mini_batch_size": batch, "seed": 1}
        job = self._call("POST", "/3/ModelBuilders/deeplearning", asked)["job"]
        return str(self._wait(job)["dest"]["name"])

    def accuracy(self, model: str, frame: str) -> float:
        """Return the share of a frame's rows whose class is the one predicted."""
        path = f"/3/Predictions/models/{model}/frames/{frame}"
        table = self._call("POST", path)["model_metrics"][0]["hit_ratio_table"]
        return float(table["data"][1][0])

    def _is_up(self) -> bool:
        try:
            return bool(self._call("GET", "/3/Cloud")["cloud_healthy"])
        except (urllib.error.URLError, ConnectionError):
            return False

    def _wait(self, job: dict[str, Any]) -> dict[str, Any]:
        path = f"/3/Jobs/{urllib.parse.quote(job['key']['name'], safe='')}"
        while job["status"] in ("CREATED", "RUNNING"):
            time.sleep(_POLL_S)
            job = self._call("GET", path)["jobs"][0]
        if job["status"] != "DONE":
            raise SystemExit(f"H2O: {job['status']}: {job['exception']}")
        return job

    def _call(self, method: str, path: str, body: dict[str, Any] | bytes | None = None) -> Any:
        sent, kind = body, "application/octet-stream"
        if isinstance(body, dict):
            lists = {k: json.dumps(v) if isinstance(v, list) else v for k, v in body.items()}
            sent, kind = urllib.parse.urlencode(lists).encode(), "application/x-www-form-urlencoded"
        headers = {} if sent is None else {"Content-Type": kind}
        request = urllib.request.Request(self._url + path, sent, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            raise SystemExit(f"H2O: {method} {path}: {error.code} {told[:2000]}") from None
