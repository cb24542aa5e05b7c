"""What a chaos run wants done: jobs of all kinds, and the client that asks for them."""

from __future__ import annotations

import hashlib
import random
import threading
import time

from tests.chaos import files
from tests.chaos.calls import Refused, Unknown

FINAL = ("succeeded", "failed", "cancelled")
DONE = (*FINAL, "ready")
AT_ONCE = 5
LOOK_S = 0.4
MEDDLE = 0.06  # of the looks: something running is paused, or cancelled
CANCEL = 0.25  # of those
DENSE = {"kind": "dense", "units": 10}
PREDICTED_BY = "MLP with dropout"
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
        "epochs": 100,
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
        "epochs": 60,
    },
    "LSTM": {
        "inputs": "rows",
        "layers": [{"kind": "lstm", "units": 48}, DENSE],
        "epochs": 30,
    },
}
PREDICTION = "prediction"
FILES = ("small table", "table", "arrays in parts")
KINDS = {**dict.fromkeys(NETWORKS, 4), PREDICTION: 3, "table": 4, "small table": 1, FILES[-1]: 2}


class Work:
    """Something acknowledged that is under way."""

    def __init__(self, kind, path, job=None):
        self.kind = kind
        self.path = path
        self.job = job


class Client(threading.Thread):
    """Asks for jobs and datasets, looks at them, pauses, resumes and cancels, until told to stop.

    What has no answer, it asks for again under the same key.
    """

    def __init__(self, cluster, history, seed):
        super().__init__(name="client", daemon=True)
        self._http = cluster.http
        self._history = history
        self._rng = random.Random(f"client {seed}")
        self._digits = self._rows = self._model = None
        self._ending = threading.Event()
        self._live = {}  # acknowledged and not seen to have ended: {id: work}
        self._paused = {}  # {job: when to resume it}
        self._number = 0
        self.failure = None
        self.jobs = {}  # all that were acknowledged: {id: kind}
        self.datasets = {}  # likewise: {id: (kind, number)}
        self.asked = set()  # jobs of which a cancellation was asked
        self.cancelling = set()  # those whose cancellation was acknowledged

    def prepare(self):
        """Upload what the jobs read."""
        self._digits = self._put("digits", "npz", files.digits())
        self._rows = self._upload("arrays in parts", 0)
        self.datasets[self._rows] = ("arrays in parts", 0)
        for dataset in (self._digits, self._rows):
            self._live[dataset] = Work("dataset", f"/v1/datasets/{dataset}")

    def model_is(self, model_id):
        """Say which model predicts."""
        self._model = model_id

    def submit(self, kind):
        """Ask for a job until there is an answer.  Returns: its id."""
        self._number += 1
        path, document = self._request(kind, f"{self._number} {kind}")
        job = self._insist("submit", "POST", path, document, name=document["name"])["id"]
        self.jobs[job] = kind
        self._live[job] = Work(kind, f"/v1/jobs/{job}", job)
        return job

    def look(self):
        """Read what is under way.  Returns: {id: state}, of those that answered."""
        states = {}
        for name, work in list(self._live.items()):
            answer = self._try("read", "GET", work.path, quiet=True)
            if answer is None:
                continue
            states[name] = answer["state"]
            work.job = work.job or answer.get("job_id")
            if answer["state"] in DONE:
                del self._live[name]
                self._history.note("ended", id=name, job=work.job, state=answer["state"])
        return states

    def run(self):
        try:
            self._work()
        except BaseException as error:
            self.failure = error
            raise

    def stop(self):
        """Ask for nothing more; ``run`` ends with the last job."""
        self._ending.set()

    def left(self):
        """What is under way, in words."""
        return [f"{name} ({work.kind})" for name, work in self._live.items()]

    def _work(self):
        kinds, weights = list(KINDS), list(KINDS.values())
        while not self._ending.is_set() or self._live:
            if not self._ending.is_set() and len(self._live) < AT_ONCE:
                self._begin(*self._rng.choices(kinds, weights))
            self.look()
            self._meddle()
            time.sleep(LOOK_S)

    def _begin(self, kind):
        if kind not in FILES:
            self.submit(kind)
            return
        self._number += 1
        dataset = self._upload(kind, self._number)
        self.datasets[dataset] = (kind, self._number)
        self._live[dataset] = Work(kind, f"/v1/datasets/{dataset}")

    def _request(self, kind, name):
        if kind == PREDICTION:
            document = {"name": name, "dataset_id": self._rows, "format": "csv"}
            return f"/v1/models/{self._model}/predictions", document
        network = NETWORKS[kind]
        return "/v1/jobs", {
            "name": name,
            "dataset_id": self._digits,
            "data": {"inputs": network["inputs"], "target": "digit", "task": "classification"},
            "architecture": {"layers": network["layers"]},
            "training": {"epochs": network["epochs"], "batch_size": 32, "seed": 5},
        }

    def _upload(self, kind, number):
        """Upload a file, at once or in parts.  Returns: the dataset's id."""
        format_, data = files.file(kind, number)
        name = f"{number} {kind}"
        if kind != "arrays in parts":
            return self._put(name, format_, data)
        sha256 = hashlib.sha256(data).hexdigest()
        document = {"name": name, "format": format_, "bytes": len(data), "sha256": sha256}
        upload = self._insist("begin", "POST", "/v1/uploads", document)
        path, size = f"/v1/uploads/{upload['id']}", upload["part_bytes"]
        numbers = list(range(-(-len(data) // size)))
        self._rng.shuffle(numbers)
        for at in numbers:
            part, media = data[at * size :][:size], "application/octet-stream"
            self._insist("part", "PUT", f"{path}/parts/{at + 1}", part, media)
        return self._insist("complete", "POST", f"{path}/complete", name=name)["id"]

    def _put(self, name, format_, data):
        media = {"npz": "application/x-npz", "csv": "text/csv"}[format_]
        path = f"/v1/datasets?name={name.replace(' ', '%20')}"
        return self._insist("upload", "POST", path, data, media, name=name)["id"]

    def _meddle(self):
        now, rng = time.monotonic(), self._rng
        live = {work.job for work in self._live.values() if work.job}
        for job in [job for job, at in self._paused.items() if now >= at]:
            if job not in live or self._operate("resume", job) in ("queued", "running"):
                del self._paused[job]
        if live and not self._ending.is_set() and rng.random() < MEDDLE:
            job = rng.choice(sorted(live))
            if rng.random() < CANCEL:
                self.asked.add(job)
                if self._operate("cancel", job):
                    self.cancelling.add(job)
            else:
                self._paused.setdefault(job, now + rng.uniform(0.5, 3.0))
                self._operate("pause", job)

    def _operate(self, operation, job):
        """Ask once.  Returns: the job's state, or None: not known, or refused."""
        try:
            answer = self._try(operation, "POST", f"/v1/jobs/{job}/{operation}", job=job)
        except Refused as refused:  # it has ended, or is to be cancelled
            if refused.status != 409:
                raise
            return None
        return answer and answer["state"]

    def _insist(self, what, method, path, body=None, content_type="application/json", **facts):
        """Ask under one key until there is an answer.  Raises: Refused."""
        key = f"{self._rng.getrandbits(128):032x}"
        while True:
            answer = self._try(what, method, path, body, content_type, key=key, **facts)
            if answer is not None:
                return answer
            time.sleep(LOOK_S)

    def _try(
        self, what, method, path, body=None, content_type="", *, quiet=False, key=None, **facts
    ):
        """Ask once.  Returns: the answer, or None if there is none.  Raises: Refused."""
        headers = {"Idempotency_Key": key} if key else {}
        try:
            answer = self._http.call(method, path, body, content_type, **headers)
        except Unknown as unknown:
            facts["status"] = unknown.status
            self._history.note(what, outcome="unknown", why=str(unknown)[:200], **facts)
            return None
        except Refused as refused:
            self._history.note(what, outcome="refused", why=str(refused)[:200], **facts)
            raise
        if not quiet:
            self._history.note(what, outcome="ok", id=answer.get("id"), **facts)
        return answer
