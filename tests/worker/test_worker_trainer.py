"""The trainer process by itself, spoken to as its supervisor does."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save

import chainrule
from chainrule.checkpoint import Checkpoint
from chainrule.fitting import kept_vectors
from chainrule.layers import LAYERS
from chainrule.layers.dense import Dense
from chainrule.recipe import Recipe
from chainrule.spec import ArchitectureSpec, DataSpec, TrainingSpec, parse, summarize
from service.actions import plans
from tests import training_jobs
from tests.waiting import eventually
from worker.frames import Frame
from worker.process import Ended, TrainerProcess, Wake
from worker.spare import Spare
from worker.trainer import serving, training

ROOM = 1 << 30


@pytest.fixture
def trainer():
    started = TrainerProcess()
    yield started
    started.kill()
    started.end()


@pytest.fixture
def job(tmp_path):
    """The message of a small digits job."""
    tensors, schema = training_jobs.digits()
    path = tmp_path / "prepared.safetensors"
    path.write_bytes(save(tensors))
    data = DataSpec.model_validate({"target": "digit"})
    recipe, _ = Recipe.fit(tensors, schema, data, seed=1)
    layers = [
        {"kind": "dense", "units": 16, "activation": "relu"},
        {"kind": "dense", "units": 10},
    ]
    settings = {"loss": {"kind": "softmax_cross_entropy"}, "epochs": 3, "seed": 1}
    return {
        "config": {
            "architecture": {"input": {"shape": [64]}, "layers": layers},
            "training": settings,
            "data": {},
        },
        "recipe": recipe.to_json(),
        "dataset": str(path),
        "memory_bytes": ROOM,
        "last": None,
        "replay": None,
        "certificate": None,
        "warm_start": None,
    }


def next_frame(trainer):
    """The next event, which must be a frame."""
    event = trainer.next(60)
    assert isinstance(event, Frame), event
    return event


def frames_of(trainer):
    """All frames until the end, each unit acknowledged as it comes."""
    frames = []
    while not isinstance(event := trainer.next(60), Ended):
        assert event is not None, "nothing for a minute"
        frames.append(event)
        if event.kind in {"started", "unit"}:
            trainer.send("committed", step=event.header["step"], cost_s=0.001)
    return frames


def run(job, checkpoint=b"", **changes):
    trainer = TrainerProcess()
    try:
        trainer.send("train", checkpoint, **(job | changes))
        return frames_of(trainer)
    finally:
        trainer.kill()
        trainer.end()


def failure(frames):
    assert frames[-1].kind == "failed"
    return frames[-1].header["error"]


def test_a_job_is_told_from_its_start_to_its_model(job):
    frames = run(job)
    kinds = [frame.kind for frame in frames if frame.kind != "progress"]
    assert kinds[:2] == ["ready", "started"]
    assert kinds[-1] == "done"
    assert set(kinds[2:-1]) == {"unit"}
    started, *units, done = [f for f in frames if f.kind in {"started", "unit", "done"}]
    assert Checkpoint.from_bytes(started.payload).loop["step"] == 0
    assert [u.header["prev"] for u in units] == [0, *(u.header["step"] for u in units[:-1])]
    assert units[-1].header["step"] == started.header["steps"] == done.header["step"]
    rows = [row for unit in units for row in unit.header["rows"]]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert units[0].header["rows"], "the first epoch ends a unit"
    assert done.header["metrics"]["test"]["accuracy"] > 0.5
    assert done.header["metrics"]["validation"] == rows[-1]["validation"]
    saving_s = [unit.header["saving_s"] for unit in units]
    assert saving_s == sorted(saving_s)
    assert 0 < saving_s[-1] < units[-1].header["learning_s"]


def test_a_job_begins_with_its_certificate_and_ends_with_it_in_the_bundle(job):
    frames = run(job)
    certificate = frames[1].header["certificate"]
    assert certificate["status"] == "passed"
    assert [row["name"] for row in certificate["layers"]] == ["dense_1", "dense_2"]
    assert all(row["max_relative_error"] < 1e-6 for row in certificate["layers"])
    assert chainrule.load(frames[-1].payload).manifest["certificate"] == certificate


def test_a_job_taken_up_without_a_certificate_makes_the_same_one_of_its_first_weights(job):
    frames = run(job)
    certificate = frames[1].header["certificate"]
    *_, last, done = [f for f in frames if f.kind in {"unit", "done"}]
    epoch = last.header["rows"][-1]
    again = run(job, last.payload, last=epoch)
    assert again[1].header["certificate"] == certificate
    given = run(job, last.payload, last=epoch, certificate=certificate)
    assert "certificate" not in given[1].header
    assert given[-1] == again[-1] == done


def test_a_job_may_do_without_the_check(job):
    job["config"]["training"]["gradient_check"] = "off"
    frames = run(job)
    assert frames[1].header["certificate"]["status"] == "off"
    assert chainrule.load(frames[-1].payload).manifest["certificate"]["status"] == "off"


class Heard:
    """A channel to nobody, which acknowledges all that is sent."""

    stop: str | None = None
    busy = False
    cost_s = 0.001

    def __init__(self, header):
        self.frames = []
        self._header = header

    def first(self):
        return Frame({"kind": "train", **self._header})

    def send(self, kind, payload=b"", **fields):
        self.frames.append(Frame({"kind": kind, **fields}, payload))

    send_unit = send

    def wait_committed(self):
        pass


@pytest.fixture
def run_here(job):
    """Run the job in this process, whose code a test can break; return the frames."""
    limits = resource.getrlimit(resource.RLIMIT_DATA)

    def act(check, **changes):
        job["config"]["training"]["gradient_check"] = check
        channel = Heard(job | changes)
        serving.serve(channel)
        return channel.frames

    yield act
    resource.setrlimit(resource.RLIMIT_DATA, limits)


@pytest.fixture
def wrong_layer(monkeypatch):
    """Make the gradients of the kernel of every layer of 16 units wrong."""

    class Wrong(Dense):
        def forward(self, x, tape):
            y, back = super().forward(x, tape)

            def backward(dy):
                dx = back(dy)
                if self.kernel.shape[1] == 16:
                    tape.gradient(self.kernel).view[...] *= 1.5
                return dx

            return y, backward

    monkeypatch.setitem(LAYERS, "dense", Wrong)


def test_a_job_whose_gradients_must_be_right_fails_and_names_the_layer(run_here, wrong_layer):
    frames = run_here("enforce")
    assert [f.kind for f in frames] == ["ready", "started", "failed"]
    certificate = frames[1].header["certificate"]
    assert (certificate["status"], certificate["layer"]) == ("failed", "dense_1")
    error = failure(frames)
    assert (error["code"], error["layer"]) == ("gradient_check_failed", "dense_1")
    assert error["detail"] == certificate["reason"]
    again = run_here("enforce", certificate=certificate)
    assert failure(again) == error


def test_a_job_that_only_reports_wrong_gradients_goes_on(run_here, wrong_layer):
    frames = run_here("report")
    assert frames[1].header["certificate"]["status"] == "failed"
    assert frames[-1].kind == "done"
    assert chainrule.load(frames[-1].payload).manifest["certificate"]["layer"] == "dense_1"


def test_a_check_that_breaks_ends_only_a_job_that_enforces_it(run_here, monkeypatch, capsys):
    def broken(spec, loss, seed):
        raise ValueError("cannot")

    monkeypatch.setattr(training, "certify", broken)
    frames = run_here("report")
    certificate = frames[1].header["certificate"]
    assert (certificate["status"], frames[-1].kind) == ("skipped", "done")
    assert "ValueError: cannot" in certificate["reason"]
    assert failure(run_here("enforce"))["code"] == "internal"
    assert "cannot" in capsys.readouterr().err


def test_a_job_ends_with_its_evaluation_in_the_bundle(job):
    done = run(job)[-1]
    report = done.header["model"]["evaluation"]
    assert report["status"] == "complete"
    assert chainrule.load(done.payload).evaluation == report
    (output,) = report["outputs"].values()
    for name in ("accuracy", "log_loss"):
        metric = {"log_loss": "loss"}.get(name, name)
        for part in ("validation", "test"):
            measured = output["parts"][part]["metrics"][name]["value"]
            assert measured == pytest.approx(done.header["metrics"][part][metric], rel=1e-6)


def test_a_job_may_do_without_the_evaluation(job):
    job["config"]["training"]["evaluation"] = "off"
    done = run(job)[-1]
    assert done.header["model"]["evaluation"]["status"] == "off"
    assert done.header["metrics"]["test"]["accuracy"] > 0.5


def test_an_evaluation_that_fails_itself_does_not_fail_the_job(run_here, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("cannot")

    monkeypatch.setattr(training, "evaluation_report", broken)
    done = run_here("off")[-1]
    report = done.header["model"]["evaluation"]
    assert (done.kind, report["status"], report["outputs"]) == ("done", "failed", {})
    assert "ValueError: cannot" in report["reason"]
    assert "cannot" in capsys.readouterr().err


def test_a_long_evaluation_gives_signs_of_life(run_here, monkeypatch):
    monkeypatch.setattr(training, "EVALUATING_S", 0.0)
    kinds = [frame.kind for frame in run_here("off")]
    assert kinds[-2:] == ["progress", "done"]


def test_a_job_taken_up_after_its_last_step_ends_with_the_same_bundle(job):
    frames = run(job)
    *_, last, done = [f for f in frames if f.kind in {"unit", "done"}]
    again = run(job, last.payload, last=last.header["rows"][-1])
    assert [f.kind for f in again] == ["ready", "started", "done"]
    assert again[-1] == done


def stopping_early(job):
    """The same job with far too many epochs, ended by its validation loss."""
    job["config"]["training"] |= {
        "epochs": 10_000,
        "optimizer": {"kind": "adam", "learning_rate": 0.02},
        "early_stopping": {"patience": 2},
    }
    return job


def test_early_stopping_ends_a_job_with_the_model_of_its_best_epoch(job):
    frames = run(stopping_early(job))
    started, *units, done = [f for f in frames if f.kind in {"started", "unit", "done"}]
    assert done.header["early"]
    assert done.header["step"] == units[-1].header["step"] < started.header["steps"]
    rows = [row for unit in units for row in unit.header["rows"]]
    best = min(rows, key=lambda row: row["validation"]["loss"])
    assert best["epoch"] == rows[-1]["epoch"] - 2
    assert done.header["metrics"]["train"] == best["train"]
    assert done.header["metrics"]["validation"] == best["validation"]
    again = run(job, units[-1].payload, last=rows[-1])  # its end was not told
    assert [f.kind for f in again] == ["ready", "started", "done"]
    assert again[-1] == done


def test_a_replay_sends_nothing_until_it_has_proved_itself(job):
    job["config"]["training"]["epochs"] = 300  # long enough that the first unit is not the last
    frames = run(job)
    first, *_, done = [f for f in frames if f.kind in {"unit", "done"}]
    sha256 = hashlib.sha256(first.payload).hexdigest()
    again = run(job, replay={"step": first.header["step"], "sha256": sha256})
    units = [f for f in again if f.kind == "unit"]
    assert units[0].header["prev"] == first.header["step"]
    assert again[-1] == done


def test_a_replay_that_gives_other_bits_fails(job):
    error = failure(run(job, replay={"step": 45, "sha256": "0" * 64}))
    assert error["code"] == "non_reproducible"


def begins(frame, architecture=None, blob="b"):
    """The part of a message that says whose weights its payload is."""
    receipt = {"restored": ["dense_1", "dense_2"], "skipped": [], "unused": []}
    return {
        "warm_start": {
            "blob": blob,
            "architecture": architecture,
            "receipt": receipt,
            "begins": frame is not None,
        }
    }


def parameters(frame):
    return Checkpoint.from_bytes(frame.payload).parameters


def test_a_job_begins_with_the_weights_of_a_model_or_of_a_checkpoint(job):
    *_, last, done = [f for f in run(job) if f.kind in {"unit", "done"}]
    architecture = job["config"]["architecture"]
    for source, spec in ((done, None), (last, architecture)):
        frames = run(job, source.payload, **begins(source, spec))
        assert (parameters(frames[1]) == parameters(last)).all()
        assert Checkpoint.from_bytes(frames[1].payload).loop["step"] == 0
        assert frames[1].header["certificate"]["status"] == "passed"
        assert frames[-1].kind == "done"


def test_a_bundle_names_the_source_of_its_first_weights_by_its_hash(job):
    done = run(job)[-1]
    assert chainrule.load(done.payload).manifest["warm_start"] is None
    job["config"]["training"]["warm_start"] = {"model_id": "mdl_1"}
    warm = run(job, done.payload, **begins(done, blob="5ha"))
    manifest = chainrule.load(warm[-1].payload).manifest
    receipt = {"restored": ["dense_1", "dense_2"], "skipped": [], "unused": []}
    assert manifest["warm_start"] == {"sha256": "5ha"} | receipt
    assert manifest["training"]["warm_start"] is None
    assert b"mdl_1" not in warm[-1].payload


def test_a_job_that_began_with_others_weights_goes_on_from_its_own(job):
    done = run(job)[-1]
    frames = run(job, done.payload, **begins(done))
    first, *_, last = [f for f in frames if f.kind in {"unit", "done"}]
    rows = first.header["rows"]
    again = run(job, first.payload, last=rows[-1], **begins(None))
    assert again[-1] == last
    sha256 = hashlib.sha256(first.payload).hexdigest()
    replay = {"step": first.header["step"], "sha256": sha256}
    again = run(job, done.payload, replay=replay, **begins(done))
    assert not again[1].payload
    assert again[-1] == last


def test_a_source_that_is_damaged_is_told_as_such(job):
    done = run(job)[-1]
    damaged = bytearray(done.payload)
    damaged[len(damaged) // 2] ^= 1
    for source, spec in ((bytes(damaged), None), (done.payload, job["config"]["architecture"])):
        assert failure(run(job, source, **begins(done, spec)))["code"] == "data_corrupt"


def test_a_stop_is_answered_with_a_last_unit(job, trainer):
    job["config"]["training"]["epochs"] = 100_000
    trainer.send("train", **job)
    while (event := trainer.next(60)).kind != "unit":
        if event.kind == "started":
            trainer.send("committed", step=0, cost_s=0.001)
    eventually(lambda: next_frame(trainer).kind == "progress")
    trainer.send("stop", reason="cancel")
    unit, stopped = [f for f in frames_of(trainer) if f.kind != "progress"]
    assert (unit.kind, stopped.kind) == ("unit", "stopped")
    assert unit.header["prev"] == event.header["step"]
    assert Checkpoint.from_bytes(unit.payload).loop["step"] == stopped.header["step"]


def test_a_file_that_is_not_there_is_told_as_ours(job):
    assert failure(run(job, dataset="/nonexistent"))["code"] == "internal"


def test_a_network_larger_than_its_memory_is_told_as_such(job):
    job["config"]["architecture"]["layers"][0]["units"] = 1_000_000  # 300 MB of parameters
    assert failure(run(job, memory_bytes=64 << 20))["code"] == "out_of_memory"


SEQUENCE = {"kind": "reshape", "target_shape": [64, 1]}
IMAGE = {"kind": "reshape", "target_shape": [8, 8, 1]}
CONVOLUTION = {"kind": "conv2d", "filters": 64, "kernel_size": 3, "padding": "same"}


@pytest.mark.parametrize("several", [{}, {"shards": 3, "threads": 3}], ids=["one", "three"])
@pytest.mark.parametrize(
    "layers",
    [
        [IMAGE, CONVOLUTION, {"kind": "batch_norm"}, {**CONVOLUTION, "activation": "swish"}],
        [SEQUENCE, {"kind": "lstm", "units": 128, "return_sequences": True}],
        [
            {"kind": "dense", "units": 2500},
            {"kind": "dense", "units": 2500, "kernel_initializer": "orthogonal"},
        ],
    ],
    ids=["convolution", "lstm", "orthogonal"],
)
def test_a_job_takes_no_more_memory_than_was_estimated(job, layers, several):
    layers = [*layers, {"kind": "flatten"}, {"kind": "dense", "units": 10}]
    job["config"]["architecture"]["layers"] = layers
    job["config"]["training"] |= {"batch_size": 256, "epochs": 1, "optimizer": {"kind": "sgd"}}
    job["config"]["training"] |= several
    spec, training = (
        parse(kind, job["config"][name])
        for kind, name in ((ArchitectureSpec, "architecture"), (TrainingSpec, "training"))
    )
    of_run = {"slots": kept_vectors(training), "shards": training.shards}
    summary = summarize(spec, batch_size=256, **of_run)
    recipe = Recipe.from_json(job["recipe"])
    encoded, _ = plans._encoded(recipe, training_jobs.digits()[0], training)
    estimate = encoded + plans._memory(spec, summary, recipe, training)
    frames = run(job, memory_bytes=estimate)
    assert frames[-1].kind == "done", frames[-1].header


@pytest.fixture
def large(job, tmp_path):
    """The message of a job whose rows take 102 MB once encoded: 50,000 of 512 in float32."""
    tensors, schema = training_jobs.noise(50_000, 512)
    path = tmp_path / "large.safetensors"
    path.write_bytes(save(tensors))
    data = DataSpec.model_validate({"inputs": "inputs", "target": "targets"})
    recipe, _ = Recipe.fit(tensors, schema, data, seed=1)
    architecture = {"input": {"shape": [512]}, "layers": [{"kind": "dense", "units": 1}]}
    training = {"loss": {"kind": "mean_squared_error"}, "epochs": 1, "batch_size": 500, "seed": 1}
    config = {"architecture": architecture, "training": training, "data": {}}
    return job | {"config": config, "recipe": recipe.to_json(), "dataset": str(path)}


def test_rows_that_are_many_are_in_files_instead_of_in_memory(large, tmp_path):
    frames = run(large, memory_bytes=64 << 20)
    assert frames[-1].kind == "done", frames[-1].header
    assert frames[-1].header["step"] == 50_000 * 0.8 / 500
    assert [path.name for path in tmp_path.glob("*large*")] == ["large.safetensors"]


def test_a_disk_without_room_for_them_is_no_fault_of_the_job(large, trainer):
    resource.prlimit(trainer.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    trainer.send("train", **large)
    assert [frame.kind for frame in frames_of(trainer)][-1] == "full"


def test_a_start_that_takes_its_time_is_told_before_it_begins(job, trainer):
    """The recurrent kernel is orthogonal: that takes 4 n m ** 2 operations, at 1e9 a second."""
    layers = [
        {"kind": "reshape", "target_shape": [8, 8]},
        {"kind": "lstm", "units": 1200},
        {"kind": "dense", "units": 10},
    ]
    job["config"]["architecture"]["layers"] = layers
    job["config"]["training"] |= {"epochs": 1, "batch_size": 256}
    trainer.send("train", **job)
    ready, told, started = (next_frame(trainer) for _ in range(3))
    assert [ready.kind, told.kind, started.kind] == ["ready", "progress", "started"]
    assert told.header["quiet_s"] == 4 * 4800 * 1200**2 / 1e9


def test_a_checkpoint_of_another_job_is_refused(job):
    other = run(job)[1].payload
    job["config"]["training"]["batch_size"] = 16
    assert failure(run(job, other))["code"] == "data_corrupt"


def test_a_network_that_does_not_fit_the_data_is_refused(job):
    job["config"]["architecture"]["input"]["shape"] = [63]
    assert failure(run(job))["code"] == "data_invalid"


def test_a_trainer_leaves_when_its_pipe_closes(trainer):
    assert next_frame(trainer).kind == "ready"
    trainer._process.stdin.close()
    assert trainer._process.wait(60) == 0


def test_a_trainer_at_work_leaves_when_its_pipe_closes(job, trainer):
    job["config"]["training"]["epochs"] = 100_000
    trainer.send("train", **job)
    eventually(lambda: next_frame(trainer).kind == "started")
    trainer._process.stdin.close()
    assert trainer._process.wait(60) == 1


def test_a_trainer_ignores_the_signals_of_a_terminal(trainer):
    assert next_frame(trainer).kind == "ready"
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(trainer.pid, number)
    assert trainer.next(0.2) is None
    assert trainer.alive


def test_a_trainer_of_another_parent_leaves_at_once():
    ended = subprocess.run(
        [sys.executable, "-m", "worker.trainer", "1"], stdin=subprocess.PIPE, check=False
    )
    assert ended.returncode == 1


def test_a_trainer_sees_no_setting_and_writes_no_core(monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATABASE_URL", "postgresql://canary")
    monkeypatch.setenv("PGPASSWORD", "canary")
    trainer = TrainerProcess()
    assert next_frame(trainer).kind == "ready"
    place = Path(f"/proc/{trainer.pid}")
    environ = (place / "environ").read_bytes()
    limits = (place / "limits").read_text()
    descriptors = len(list((place / "fd").iterdir()))
    trainer.kill()
    trainer.end()
    assert b"canary" not in environ
    assert b"OPENBLAS_NUM_THREADS=1" in environ
    assert "Max core file size        0                    0" in limits
    assert descriptors <= 6, "the three standard ones, both pipes, nothing of the worker"


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_trainer_that_dies_of_a_signal_is_told_by_its_name(trainer, number, name):
    assert next_frame(trainer).kind == "ready"
    os.kill(trainer.pid, number)
    assert isinstance(trainer.next(60), Ended)
    assert trainer.reason()["code"] == "crashed"
    assert trainer.reason()["signal"] == name


def test_a_message_to_a_dead_trainer_is_dropped(trainer):
    trainer.kill()
    eventually(lambda: isinstance(trainer.next(60), Ended))
    trainer.send("train", bytes(1_000_000))
    trainer.send("stop", reason="cancel")


def test_a_wait_for_a_trainer_can_be_ended_from_elsewhere(trainer):
    assert next_frame(trainer).kind == "ready"
    trainer.wake()
    assert trainer.next(60) == Wake()
    assert trainer.next(0.01) is None


def test_the_spare_that_died_is_replaced_by_a_living_one():
    spare = Spare()
    spare.prepare()
    first = spare._waiting
    assert first is not None
    first.kill()
    eventually(lambda: not first.alive)
    taken = spare.take()
    assert taken.pid != first.pid
    assert taken.alive
    taken.kill()
    taken.end()
    spare.prepare()
    spare.discard()
