"""The jobs of a chaos run, and the client that wants them done."""

from __future__ import annotations

import io
import random
import threading
import time
from importlib.resources import files

import numpy as np

from tests.chaos.calls import Refused, Unknown

FINAL = ("succeeded", "failed", "cancelled")
AT_ONCE = 4
DENSE = {"kind": "dense", "units": 10}
NETWORKS = {
    "MLP with dropout": {
        "inputs": "pixels",
        "layers": [
            {"kind": "dense", "units": 256, "activation": "relu"},
            {"kind": "dropout", "rate": 0.3},
            {"kind": "dense", "units": 256, "activation": "relu"},
            {"kind": "dropout", "rate": 0.3},
            DENSE,
        ],
        "epochs": 300,
    },
    "CNN with batch norm": {
        "inputs": "image",
        "layers": [
            {"kind": "conv2d", "filters": 16, "kernel_size": 3},
            {"kind": "batch_norm"},
            {"kind": "activation", "activation": "relu"},
            {"kind": "max_pool2d", "pool_size": 2},
            {"kind": "flatten"},
            DENSE,
        ],
        "epochs": 200,
    },
    "LSTM": {
        "inputs": "rows",
        "layers": [{"kind": "lstm", "units": 48}, DENSE],
        "epochs": 100,
    },
}


def digits():
    """The digits in three shapes, as an NPZ file."""
    text = (files("chainrule") / "data" / "digits.csv").read_text()
    table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1)
    pixels = (table[:, :-1] / 16).astype(np.float32)
    arrays = {
        "pixels": pixels,
        "image": pixels.reshape(-1, 8, 8, 1),
        "rows": pixels.reshape(-1, 8, 8),
        "digit": table[:, -1].astype(np.int64),
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


class Client(threading.Thread):
    """Submits jobs, looks at them, and pauses, resumes and cancels some, until told to stop."""

    def __init__(self, cluster, history, seed):
        super().__init__(name="client", daemon=True)
        self._http = cluster.http
        self._history = history
        self._rng = random.Random(f"client {seed}")
        self._dataset = None
        self._ending = threading.Event()
        self._live = {}  # acknowledged and not seen to have ended: {id: kind}
        self._paused = {}  # {id: when to resume}
        self._number = 0
        self._unanswered = None
        self.failure = None
        self.kinds = {}  # of all that were acknowledged
        self.cancelled = set()

    def upload(self):
        self._dataset = self._http.call(
            "POST", "/v1/datasets?name=digits", digits(), "application/x-npz"
        )["id"]

    def submit(self, kind):
        """Ask for a job, or again for the one that has had no answer yet, under the same key.

        Returns: its id, or None if it is not known whether there is one.
        """
        kind, document, key = self._unanswered = self._unanswered or self._request(kind)
        answer = self._ask("submit", "POST", "/v1/jobs", document, key=key, name=document["name"])
        if answer is None:
            return None
        self._unanswered = None
        self._live[answer["id"]] = self.kinds[answer["id"]] = kind
        return answer["id"]

    def _request(self, kind):
        network = NETWORKS[kind]
        self._number += 1
        document = {
            "name": f"{self._number} {kind}",
            "dataset_id": self._dataset,
            "data": {"inputs": network["inputs"], "target": "digit", "task": "classification"},
            "architecture": {"layers": network["layers"]},
            "training": {"epochs": network["epochs"], "batch_size": 32, "seed": 5},
        }
        return kind, document, f"{self._rng.getrandbits(128):032x}"

    def look(self):
        """Read the jobs under way.  Returns: {id: state}, of those that answered."""
        states = {}
        for job_id in list(self._live):
            answer = self._ask("read", "GET", f"/v1/jobs/{job_id}", quiet=True)
            if answer is not None:
                states[job_id] = answer["state"]
                if answer["state"] in FINAL:
                    del self._live[job_id]
                    self._history.note("ended", job=job_id, state=answer["state"])
        return states

    def run(self):
        try:
            self._work()
        except BaseException as error:
            self.failure = error
            raise

    def _work(self):
        while not self._ending.is_set() or self._live or self._unanswered:
            if self._unanswered or not (self._ending.is_set() or len(self._live) >= AT_ONCE):
                self.submit(self._rng.choice(list(NETWORKS)))
            states = self.look()
            self._meddle(states)
            time.sleep(0.3)

    def stop(self):
        """Submit no more; ``run`` ends with the last job."""
        self._ending.set()

    def _meddle(self, states):
        now, rng = time.monotonic(), self._rng
        for job_id, at in list(self._paused.items()):
            if now >= at and self._operate("resume", job_id) in ("queued", "running", *FINAL):
                del self._paused[job_id]
        running = [job_id for job_id, state in states.items() if state == "running"]
        if running and not self._ending.is_set() and rng.random() < 0.03:
            job_id = rng.choice(running)
            if rng.random() < 0.2:
                self.cancelled.add(job_id)
                self._operate("cancel", job_id)
            else:
                self._paused.setdefault(job_id, now + rng.uniform(0.5, 3.0))
                self._operate("pause", job_id)

    def _operate(self, operation, job_id):
        answer = self._ask(operation, "POST", f"/v1/jobs/{job_id}/{operation}", job=job_id)
        return answer and answer["state"]

    def _ask(self, what, method, path, body=None, *, quiet=False, key=None, **facts):
        headers = {"Idempotency_Key": key} if key else {}
        try:
            answer = self._http.call(method, path, body, **headers)
        except Unknown as unknown:
            self._history.note(what, outcome="unknown", why=str(unknown)[:100], **facts)
            return None
        except Refused as refused:
            self._history.note(what, outcome="refused", why=str(refused)[:200], **facts)
            if refused.status != 409:  # no fault of ours makes a right request wrong
                raise
            return {"id": None, "state": "refused"}
        if not quiet:
            self._history.note(what, outcome="ok", id=answer["id"], **facts)
        return answer
