"""Datasets, plans and jobs: what is accepted, what is refused and where, and what is told of it."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from chainrule.errors import DataError, SpecError
from chainrule.spec import ArchitectureSpec, parse
from service.actions import architectures, datasets, fits, jobs, plans, workers
from service.actions.datasets import Intake, Upload
from service.actions.requests import JobRequest
from service.errors import (
    AdmissionError,
    ConflictError,
    CorruptError,
    NotFoundError,
    UnavailableError,
)
from service.settings import Settings
from service.store import transitions
from service.store.tables import Dataset
from tests.waiting import eventually

ROWS = 100
TABLE = "\n".join(
    ["size,colour,price,kind"]
    + [f"{i},{'red' if i % 2 else 'blue'},{i * 2.5},{'abc'[i % 3]}" for i in range(ROWS)]
).encode()


@pytest.fixture
def shop(scene, parser, tmp_path):
    """A service with one dataset, and the calls that a client makes."""
    settings = Settings.from_env({"HOME": str(tmp_path)})
    intake = Intake(scene.database, parser, scene.bell, tmp_path, settings.parse_inline_bytes)

    def upload(data=TABLE, tenant="default", name="shop"):
        path = tmp_path / "upload"
        path.write_bytes(data)
        return datasets.create(intake, Upload(tenant, name, "csv"), path)

    dataset, created = upload()
    assert created

    def request(*units, target="kind", data=None, **training):
        layers = [{"kind": "dense", "units": u, "activation": "relu"} for u in units[:-1]]
        layers.append({"kind": "dense", "units": units[-1]})
        document = {
            "dataset_id": dataset.id,
            "architecture": {"name": "net", "layers": layers},
            "data": {**({"target": target} if target else {}), **(data or {})},
            "training": training,
        }
        return parse(JobRequest, document)

    def plan(asked, tenant="default", settings=settings):
        with scene.database.read() as session:
            return jobs.plan(session, tenant, asked, settings)

    def submit(asked, tenant="default"):
        return jobs.submit(scene.database, scene.bell, settings, tenant=tenant, request=asked)

    return SimpleNamespace(
        dataset=dataset,
        folder=tmp_path,
        intake=intake,
        plan=plan,
        request=request,
        settings=settings,
        submit=submit,
        upload=upload,
    )


def refusal(act, *arguments):
    with pytest.raises(SpecError) as refused:
        act(*arguments)
    return str(refused.value)


def test_what_is_learnt_of_a_large_dataset_is_kept(monkeypatch, shop):
    small = shop.plan(shop.request(4, 3))
    monkeypatch.setattr("service.actions.fits.LARGE_ROWS", ROWS)
    large = shop.plan(shop.request(4, 3))
    assert (large.recipe, large.config, large.rows) == (small.recipe, small.config, small.rows)

    def learnt(*_, **__):
        raise AssertionError("learnt again")

    with monkeypatch.context() as patch:
        patch.setattr("service.actions.fits.Recipe.fit", learnt)
        assert shop.plan(shop.request(7, 3)).recipe == large.recipe
        with pytest.raises(AssertionError):
            shop.plan(shop.request(4, 3, seed=2))
    assert shop.plan(shop.request(4, 3, seed=2)).recipe["seed"] == 2


def test_large_datasets_are_planned_one_at_a_time_and_few_wait(monkeypatch, shop):
    monkeypatch.setattr("service.actions.fits.LARGE_ROWS", ROWS)
    others = [threading.Thread(target=shop.plan, args=[shop.request(4, 3)]) for _ in range(3)]
    with ExitStack() as joined, fits.turn(shop.dataset):
        for other in others:
            other.start()
            joined.callback(other.join)
        eventually(lambda: fits._waiting._value == 0)
        with pytest.raises(UnavailableError, match="other large datasets are being planned"):
            shop.plan(shop.request(4, 3))
        assert all(other.is_alive() for other in others)
    assert shop.plan(shop.request(4, 3)).rows["train"] == 80


def test_an_upload_is_parsed_and_comes_back_byte_for_byte(scene, shop):
    row = shop.dataset
    assert (row.rows, row.state, row.bytes) == (ROWS, "ready", len(TABLE))
    assert row.sha256 == hashlib.sha256(TABLE).hexdigest()
    assert [c["name"] for c in row.schema["columns"]] == ["size", "colour", "price", "kind"]
    with scene.database.read() as session:
        stored = datasets.get(session, "default", row.id)
        assert b"".join(datasets.content(scene.database, stored)) == TABLE
        assert set(datasets.tensors(session, stored, shop.settings.cache_dir)) == {
            "size",
            "colour",
            "price",
            "kind",
        }
    assert not list(shop.folder.glob("*.prepared"))


def test_the_same_bytes_again_are_the_same_dataset(scene, shop):
    again, created = shop.upload(name="another name")
    assert (again.id, again.name, created) == (shop.dataset.id, "shop", False)
    theirs, created = shop.upload(tenant="other")
    assert created
    assert theirs.id != shop.dataset.id
    assert scene.count(Dataset) == 2


def test_the_same_bytes_uploaded_at_once_make_one_dataset(scene, shop, parser, tmp_path):
    start, made = threading.Barrier(2), []

    def go(name):
        path = tmp_path / name
        path.write_bytes(TABLE + b"\n1,red,2,a")
        start.wait()
        made.append(datasets.create(shop.intake, Upload("default", "n", "csv"), path))

    threads = [threading.Thread(target=go, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row.id for row, _ in made}) == 1
    assert sorted(created for _, created in made) == [False, True]


def test_a_file_that_does_not_parse_leaves_nothing(scene, shop):
    with pytest.raises(DataError):
        shop.upload(b"a,b\n1,2\n3\n")
    assert scene.count(Dataset) == 1
    assert not list(shop.folder.glob("*.prepared"))


def test_a_dataset_of_another_tenant_is_not_there(scene, shop):
    with scene.database.read() as session:
        with pytest.raises(NotFoundError):
            datasets.get(session, "other", shop.dataset.id)
        assert datasets.list_page(session, "other").items == []
    with pytest.raises(NotFoundError):
        shop.plan(shop.request(4, "auto"), tenant="other")


def test_a_damaged_dataset_is_noticed(scene, shop):
    other, _ = shop.upload(TABLE.replace(b"\n5,", b"\n5000,"))  # in no cache yet
    scene.sql("UPDATE chunks SET data = :bad", bad=b"x")
    with scene.database.read() as session, pytest.raises(CorruptError):
        datasets.tensors(session, other, shop.settings.cache_dir)


def test_a_plan_renders_every_default(shop):
    plan = shop.plan(shop.request(8, "auto", epochs=5, batch_size=16))
    config = plan.config
    assert config["architecture"]["input"] == {"shape": [4]}  # size, price and two colours
    assert config["architecture"]["layers"][-1]["units"] == 3
    loss = {"kind": "softmax_cross_entropy", "label_smoothing": 0.0}
    assert config["training"]["loss"] == loss
    assert config["training"]["optimizer"]["learning_rate"] == 0.001
    assert config["data"]["task"] == "classification"
    assert config["data"]["inputs"] == ["size", "colour", "price"]
    assert plan.rows == {"train": 80, "validation": 10, "test": 10, "dropped": 0}
    assert (plan.name, plan.epochs, plan.steps) == ("net", 5, 5 * 5)
    assert plan.summary["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert plan.memory_bytes > 64 * 2**20
    assert plan.seconds > 0


def test_no_snapshot_is_held_while_a_recipe_is_fitted(scene, shop, monkeypatch):
    fit, held = plans._fit, []
    with scene.database.read() as session:
        monkeypatch.setattr(
            plans, "_fit", lambda *given: (held.append(session.in_transaction()), fit(*given))[1]
        )
        jobs.plan(session, "default", shop.request(8, "auto"), shop.settings)
    assert held == [False]


def test_rows_that_are_many_want_room_on_the_disk_instead_of_memory(shop, monkeypatch):
    asked = shop.request(8, "auto")
    few = shop.plan(asked)
    monkeypatch.setattr(plans, "IN_MEMORY_BYTES", 0)
    many = shop.plan(asked)
    assert (few.disk_bytes, many.disk_bytes) == (0, ROWS * (4 + 3) * 4)  # 4 features, 3 classes
    assert few.memory_bytes - many.memory_bytes == 2 * many.disk_bytes
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(AdmissionError) as refused:
        shop.plan(asked)
    (problem,) = refused.value.problems
    assert problem.path == "data.inputs"
    assert "on the disk" in problem.detail


@pytest.mark.parametrize(
    ("target", "loss", "units"),
    [
        ("kind", "softmax_cross_entropy", 3),
        ("price", "mean_squared_error", 1),
        ("colour", "binary_cross_entropy", 1),
        ("colour", "softmax_cross_entropy", 2),
    ],
)
def test_auto_units_fit_target_and_loss_and_any_other_number_is_refused(shop, target, loss, units):
    plan = shop.plan(shop.request(4, "auto", target=target, loss=loss))
    assert plan.config["architecture"]["layers"][-1]["units"] == units
    assert shop.plan(shop.request(4, units, target=target, loss=loss)).steps == plan.steps
    told = refusal(shop.plan, shop.request(4, 7, target=target, loss=loss))
    assert told.startswith(f"architecture.layers[1].units: must be {units} for {loss}")
    assert told.endswith("got 7")


def test_a_reconstruction_has_as_many_outputs_as_encoded_inputs_and_no_target(shop):
    plan = shop.plan(shop.request(2, "auto", target=None, data={"task": "reconstruction"}))
    assert plan.config["architecture"]["layers"][-1]["units"] == 7  # 2 + 2 + 3: "kind" goes in too
    assert plan.config["data"]["target"] is None
    assert plan.config["training"]["loss"] == {"kind": "mean_squared_error"}
    told = refusal(
        shop.plan, shop.request(2, 3, target=None, data={"task": "reconstruction"}, loss="huber")
    )
    assert told.startswith("architecture.layers[1].units: must be 7 for huber (the inputs come")


def test_class_weights_by_label_are_put_in_the_order_of_the_classes(shop):
    weights = {"c": 3.0, "a": 0.5}
    plan = shop.plan(shop.request(4, "auto", class_weights=weights, loss="focal"))
    assert plan.config["training"]["class_weights"] == [0.5, 1.0, 3.0]
    costs = [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [5.0, 1.0, 0.0]]
    plan = shop.plan(shop.request(4, "auto", class_weights=costs))
    assert plan.config["training"]["class_weights"] == costs


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"class_weights": {"d": 1.0}},
            "training.class_weights: there is no class 'd'; the classes are 'a', 'b', 'c'",
        ),
        (
            {"class_weights": [1.0, 2.0]},
            "training.class_weights: are for 2 classes, the network has 3",
        ),
        (
            {"target": "price", "class_weights": [1.0]},
            "training.class_weights: go with losses of classes, not with mean_squared_error",
        ),
        (
            {"target": "price", "class_weights": {"a": 1.0}},
            "training.class_weights: go with classes, the task is regression",
        ),
        (
            {"losses": {"logits": "huber"}},
            "training.losses: are for several outputs; give loss",
        ),
        (
            {"target": "price", "loss": "hinge", "data": {"task": "regression"}},
            "data.task: regression does not go with the loss hinge",
        ),
        (
            {"target": "price", "data": {"sample_weight": "colour"}},
            "data.sample_weight: column 'colour' holds text, weights are numbers",
        ),
    ],
)
def test_losses_and_weights_that_the_data_does_not_have_are_refused(shop, asked, told):
    assert refusal(shop.plan, shop.request(4, "auto", **asked)).startswith(told)


def test_two_classes_may_share_one_unit_of_a_hinge(shop):
    plan = shop.plan(shop.request(4, 1, target="colour", loss="hinge"))
    assert plan.config["architecture"]["layers"][-1]["units"] == 1
    auto = shop.plan(shop.request(4, "auto", target="colour", loss="hinge"))
    assert auto.config["architecture"]["layers"][-1]["units"] == 2


def test_an_output_that_is_no_vector_is_blamed_on_the_loss(shop, parser, scene, tmp_path):
    path = tmp_path / "arrays.json"
    images = {"inputs": [[[1, 2], [3, 4]]] * 20, "targets": [[1.0]] * 20}
    path.write_text(json.dumps(images))
    arrays, _ = datasets.create(shop.intake, Upload("default", "n", "json"), path)
    document = {
        "dataset_id": arrays.id,
        "architecture": {"layers": [{"kind": "activation", "activation": "relu"}]},
        "data": {"target": "targets"},
    }
    told = refusal(shop.plan, parse(JobRequest, document))
    assert told.startswith("training.loss: mean_squared_error wants outputs of shape (1,)")
    assert "(2, 2)" in told


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"target": "weight"}, "data.target: there is no column 'weight'"),
        ({"data": {"inputs": ["mass"]}}, "data.inputs[0]: there is no column 'mass'"),
        ({"loss": "mean_squared_error"}, "data.target: "),
    ],
)
def test_a_complaint_names_its_place_in_the_request(shop, options, place):
    assert refusal(shop.plan, shop.request(4, "auto", **options)).startswith(place)


def test_an_input_that_is_not_the_datas_is_refused_with_both_shapes(shop):
    document = shop.request(4, "auto").render()
    document["architecture"]["input"] = {"shape": [9]}
    told = refusal(shop.plan, parse(JobRequest, document))
    assert told == "architecture.input.shape: is (9,), the data has (4,)"


@pytest.mark.parametrize("both", [True, False])
def test_a_request_has_one_architecture(shop, both):
    document = shop.request(4, "auto").render()
    document["architecture_id"] = "arch_1" if both else None
    document["architecture"] = document["architecture"] if both else None
    told = refusal(parse, JobRequest, document)
    assert "either an architecture or an architecture_id" in told


def test_a_job_too_large_is_not_admitted_and_told_why(shop):
    huge = shop.request(1_000_000, 200, "auto", epochs=1_000_000, batch_size=1)
    small = Settings.from_env({"HOME": "/tmp", "CHAINRULE_MAX_JOB_MEMORY_MIB": "128"})
    with pytest.raises(AdmissionError) as refused:
        shop.plan(huge, settings=small)
    (problem,) = refused.value.problems
    assert problem.path == "architecture"
    assert problem.detail.endswith("MiB, one job may have 128")


def test_a_stored_architecture_serves_as_well(scene, shop):
    spec = parse(ArchitectureSpec, shop.request(4, "auto").render()["architecture"])
    stored = scene.database.transact(lambda uow: architectures.create(uow, "default", spec))
    asked = parse(JobRequest, {"dataset_id": shop.dataset.id, "architecture_id": stored.id,
                               "data": {"target": "kind"}})  # fmt: skip
    plan = shop.plan(asked)
    assert plan.architecture_id == plan.config["architecture_id"] == stored.id
    assert plan.config["architecture"]["layers"][-1]["units"] == 3
    with pytest.raises(NotFoundError, match="no architecture"):
        shop.plan(asked.model_copy(update={"architecture_id": "arch_0"}))
    with scene.database.read() as session:
        assert [a.id for a in architectures.list_page(session, "default").items] == [stored.id]
        assert architectures.list_page(session, "other").items == []


def test_an_architecture_that_does_not_add_up_is_not_stored(scene):
    layers = [{"kind": "reshape", "target_shape": [4]}]
    spec = parse(ArchitectureSpec, {"input": {"shape": [3, 3]}, "layers": layers})
    with pytest.raises(SpecError, match=r"layers\[0\]"):
        scene.database.transact(lambda uow: architectures.create(uow, "default", spec))


def test_a_submitted_job_waits_in_line_and_the_bell_rings(scene, shop):
    made = [shop.submit(shop.request(4, "auto", seed=seed)) for seed in range(3)]
    assert scene.bell.rung == [job.id for job in made]
    assert made[0].recipe["task"] == "classification"
    claim = scene.claim(made[0].id)
    assert claim.prepared == shop.dataset.prepared
    assert claim.config == made[0].config
    with scene.database.read() as session:
        found = [jobs.get(session, "default", job.id) for job in made]
        assert [jobs.queue_position(session, job) for job in found] == [None, 1, 2]
        assert [e.to_state for e in jobs.events(session, made[0].id)] == ["queued", "running"]
        with pytest.raises(NotFoundError):
            jobs.get(session, "other", made[0].id)


def test_lists_go_from_the_newest_to_the_oldest_page_by_page(scene, shop):
    made = [scene.job() for _ in range(5)]
    scene.job(tenant="other")
    scene.cancel(made[1])
    with scene.database.read() as session:
        first = jobs.list_page(session, "default", limit=2)
        second = jobs.list_page(session, "default", limit=2, cursor=first.next)
        third = jobs.list_page(session, "default", limit=2, cursor=second.next)
        pages = [[job.id for job in page.items] for page in (first, second, third)]
        assert pages == [[made[4], made[3]], [made[2], made[1]], [made[0]]]
        assert third.next is None
        cancelled = jobs.list_page(session, "default", state="cancelled").items
        assert [job.id for job in cancelled] == [made[1]]
        assert jobs.list_page(session, "default", name="no").items == []
        assert len(jobs.list_page(session, "default", limit=5).items) == 5
        assert jobs.list_page(session, "default", limit=5).next is None


@pytest.mark.parametrize("cursor", ["", "!", "MQ==", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "é"])
def test_a_cursor_that_no_page_gave_is_refused(scene, cursor):
    with scene.database.read() as session, pytest.raises(SpecError, match=r"^cursor: "):
        jobs.list_page(session, "default", cursor=cursor)


def test_cancelling_returns_the_job_as_it_then_is(scene):
    job_id = scene.job()

    def cancel():
        return scene.database.transact(lambda uow: jobs.cancel(uow, "default", job_id))

    assert cancel().state == "cancelled"
    assert cancel().state == "cancelled"
    claim = scene.running()
    scene.act(transitions.fail, claim, {"code": "diverged"})
    with pytest.raises(ConflictError):
        scene.database.transact(lambda uow: jobs.cancel(uow, "default", claim.job_id))


def test_progress_is_read_as_it_was_committed(scene):
    claim = scene.running()
    rows = [
        {"epoch": e, "step": e, "train": {"loss": 1.0 / e}, "validation": None}
        | dict.fromkeys(("learning_rate", "seconds", "samples_per_s"), 1.0)
        for e in (1, 2)
    ]
    scene.commit(claim, 0, 1, rows=rows[:1], data=b"one")
    scene.commit(claim, 1, 2, rows=rows[1:], data=b"two")
    with scene.database.read() as session:
        assert [row.epoch for row in jobs.metrics(session, claim.job_id)] == [1, 2]
        assert jobs.last_epoch(session, claim.job_id).train == {"loss": 0.5}
        assert [c.step for c in jobs.checkpoints(session, claim.job_id)] == [1, 2]
        assert jobs.checkpoint_bytes(session, claim.job_id, 1) == b"one"
        with pytest.raises(NotFoundError, match="no checkpoint 9 of job"):
            jobs.checkpoint_bytes(session, claim.job_id, 9)


def test_workers_are_seen_while_they_beat(scene):
    register = {"trainers": 2, "info": {"host": "h"}}
    scene.database.transact(lambda uow: workers.register(uow, "w1", **register))
    scene.database.transact(lambda uow: workers.register(uow, "w1", **register))

    def seen():
        with scene.database.read() as session:
            return [worker.id for worker in workers.list_seen(session)]

    assert seen() == ["w1"]
    scene.sql("UPDATE workers SET seen_at = seen_at - 100")
    assert seen() == []
    scene.database.transact(lambda uow: workers.beat(uow, "w1"))
    assert seen() == ["w1"]
    scene.sql("UPDATE workers SET seen_at = seen_at - 100000")
    scene.database.transact(lambda uow: workers.register(uow, "w2", **register))
    assert scene.sql("SELECT id FROM workers") == [("w2",)]
    scene.database.transact(lambda uow: workers.unregister(uow, "w2"))
    assert seen() == []


def test_the_version_of_a_job_changes_with_all_that_happens_to_it(scene):
    first, job_id = scene.job(), scene.job()
    seen = []

    def look():
        seen.append(jobs.current_version(scene.database, "default", job_id))
        with scene.database.read() as session:
            assert jobs.version(session, "default", job_id) == seen[-1]
            place = jobs.queue_position(session, jobs.get(session, "default", job_id))
        assert seen[-1][-1] == place

    def crash(claim):
        return scene.act(transitions.retry, claim, {"code": "crashed"})

    look()
    scene.cancel(first)
    look()
    for step in (1, 2):
        claim = scene.claim(job_id)
        look()
        scene.commit(claim, step - 1, step)
        look()
        assert crash(claim) == "queued"
        look()
    claim = scene.claim(job_id)
    look()
    scene.cancel(job_id)
    look()
    assert scene.act(transitions.release, claim) == "cancelled"
    look()
    scene.sql("UPDATE jobs SET dataset_id = NULL")
    look()
    assert len(set(seen)) == len(seen) == 12


def test_a_job_of_another_tenant_has_no_version(scene):
    job_id = scene.job()
    for tenant, name in (("other", job_id), ("default", "job_none")):
        with pytest.raises(NotFoundError):
            jobs.current_version(scene.database, tenant, name)
        with scene.database.read() as session, pytest.raises(NotFoundError):
            jobs.version(session, tenant, name)
