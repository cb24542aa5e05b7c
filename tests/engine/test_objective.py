"""The objective: weights of rows, steps, classes and outputs; masks; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.errors import DataError, ShapeError, SpecError
from chainrule.fitting import TrainingLoop, evaluate
from chainrule.losses import LOSSES, Objective
from chainrule.network import Network
from chainrule.spec import TrainingSpec, parse
from chainrule.tape import Tape

SPEC = {
    "input": {"shape": [4]},
    "layers": [
        {"kind": "dense", "units": 6, "activation": "tanh"},
        {"kind": "dense", "units": 3},
    ],
}


def tape_of(*masks):
    tape = Tape(dtype="float64")
    tape.begin(0)
    if masks:
        vars(tape)["masks"] = list(masks)
    return tape


def measured(objective, y, target, *, weights=None, masks=()):
    """The loss, the gradient and the metrics of one batch."""
    tallies = objective.tallies()
    loss, dy = objective(y, target, tape_of(*masks), weights=weights, tallies=tallies)
    return loss, dy, tallies.result()


def drawn(kind, shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape), LOSSES[kind].draw(shape, rng), rng


@pytest.mark.parametrize("kind", LOSSES)
def test_a_rows_weight_multiplies_its_loss_and_the_sum_is_divided_by_the_rows(kind):
    y, target, rng = drawn(kind, (6, 3))
    weights = rng.uniform(0, 3, 6)
    loss, dy, _ = measured(Objective({"y": (3,)}, kind), y, target, weights=weights)
    parts = [LOSSES[kind](y[i : i + 1], target[i : i + 1]) for i in range(6)]
    assert loss == pytest.approx(sum(w * p[0] for w, p in zip(weights, parts, strict=True)) / 6)
    wanted = np.concatenate([w * p[1] for w, p in zip(weights, parts, strict=True)]) / 6
    np.testing.assert_allclose(dy, wanted, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_of_ones_are_no_weights(kind):
    y, target, _ = drawn(kind, (5, 2, 3))
    plain, weighted = (
        measured(Objective({"y": (2, 3)}, kind), y, target, weights=w)
        for w in (None, np.ones((5, 2)))
    )
    assert plain[0] == pytest.approx(weighted[0], rel=1e-13)
    np.testing.assert_allclose(plain[1], weighted[1], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("kind", ["mean_squared_error", "softmax_cross_entropy", "huber"])
def test_masked_steps_count_nowhere_and_the_mean_is_over_the_others(kind):
    y, target, rng = drawn(kind, (5, 4, 3))
    mask = rng.random((5, 4)) < 0.6
    weights = rng.uniform(0.5, 2, 5)
    objective = Objective({"y": (4, 3)}, kind)
    loss, dy, found = measured(objective, y, target, masks=[mask])
    wanted, wanted_dy = LOSSES[kind](y[mask], target[mask])
    assert loss == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(dy[mask], wanted_dy, rtol=1e-11, atol=1e-16)
    assert not dy[~mask].any()
    flat = Objective({"y": (3,)}, kind)
    assert found == pytest.approx(measured(flat, y[mask], target[mask])[2])
    both, _, _ = measured(objective, y, target, masks=[mask], weights=weights)
    of_steps = np.broadcast_to(weights[:, None], (5, 4))[mask]
    assert both == pytest.approx(LOSSES[kind](y[mask], target[mask], weights=of_steps)[0])


def test_a_mask_of_steps_that_are_gone_or_all_padding_does_no_harm():
    y, target, _ = drawn("mean_squared_error", (5, 3))
    objective = Objective({"y": (3,)}, "mean_squared_error")
    mask = np.zeros((5, 3), bool)  # of the input's steps, not of these units
    assert measured(objective, y, target, masks=[mask])[0] == measured(objective, y, target)[0]
    y, target, _ = drawn("mean_squared_error", (5, 3, 2))
    loss, dy, _ = measured(Objective({"y": (3, 2)}, "huber"), y, target, masks=[mask])
    assert loss == 0.0
    assert not dy.any()


@pytest.mark.parametrize("kind", ["softmax_cross_entropy", "hinge", "focal"])
@pytest.mark.parametrize("given", [[0.5, 2.0, 1.0], {"1": 2.0, "0": 0.5}])
def test_class_weights_are_weights_of_the_rows_of_a_class(kind, given):
    y, target, rng = drawn(kind, (8, 4, 3))
    rows = rng.uniform(0, 2, (8, 4))
    loss, dy, _ = measured(Objective({"y": (4, 3)}, kind, given), y, target, weights=rows)
    weights = rows * np.array([0.5, 2.0, 1.0])[target]
    wanted, wanted_dy = LOSSES[kind](y, target, weights=weights)
    assert loss == pytest.approx(wanted, rel=1e-13)
    np.testing.assert_allclose(dy, wanted_dy, rtol=1e-12)


@pytest.mark.parametrize("given", [[0.5, 2.0], {"0": 0.5, "1": 2.0}, [[0.0, 0.5], [2.0, 0.0]]])
def test_one_unit_has_the_weights_of_two_classes_or_their_costs(given):
    y, target, _ = drawn("binary_cross_entropy", (8, 1))
    loss, _, _ = measured(Objective({"y": (1,)}, "binary_cross_entropy", given), y, target)
    weights = np.where(target[:, 0] == 1, 2.0, 0.5)
    wanted, _ = LOSSES["binary_cross_entropy"](y, target, weights=weights)
    assert loss == pytest.approx(wanted, rel=1e-13)


def test_shares_of_classes_have_the_mixture_of_their_weights():
    y, shares, _ = drawn("kullback_leibler", (6, 3))
    table = np.array([1.0, 2.0, 4.0])
    loss, _, _ = measured(Objective({"y": (3,)}, "kullback_leibler", [*table]), y, shares)
    wanted, _ = LOSSES["kullback_leibler"](y, shares, weights=shares @ table)
    assert loss == pytest.approx(wanted, rel=1e-13)


def test_several_outputs_add_up_by_their_losses_weights():
    objective = Objective(
        {"value": (1,), "kind": (3,)},
        {"value": {"kind": "huber", "delta": 0.5, "weight": 0.25}, "kind": "softmax_cross_entropy"},
    )
    value, count, rng = drawn("huber", (6, 1))
    logits, classes, _ = drawn("softmax_cross_entropy", (6, 3))
    rows = rng.uniform(0, 2, 6)
    y, target = {"value": value, "kind": logits}, {"value": count[:, 0], "kind": classes}
    goals = objective.prepare(target, np.dtype("float64"), 6)
    loss, dy, found = measured(objective, y, goals, weights=rows, masks=[None, None])
    first, d_first = type(LOSSES["huber"])(delta=0.5)(value, count, weights=rows)
    second, d_second = LOSSES["softmax_cross_entropy"](logits, classes, weights=rows)
    assert loss == pytest.approx(0.25 * first + second, rel=1e-13)
    np.testing.assert_allclose(dy["value"], 0.25 * d_first, rtol=1e-13)
    np.testing.assert_allclose(dy["kind"], d_second, rtol=1e-13)
    assert found["loss"] == pytest.approx(loss, rel=1e-13)
    assert list(found) == [
        "loss",
        *(f"value.{name}" for name in ("loss", "mse", "mae", "r2")),
        *(f"kind.{name}" for name in ("loss", "accuracy")),
    ]
    assert found["value.loss"] == pytest.approx(first, rel=1e-13)


def test_one_loss_is_every_outputs():
    objective = Objective({"a": (2,), "b": (1,)}, {"kind": "huber", "delta": 3.0})
    assert [one["delta"] for one in objective.document()["losses"].values()] == [3.0, 3.0]


def test_a_training_without_a_loss_takes_what_the_targets_type_says():
    nothing = parse(TrainingSpec, {})
    objective = Objective.of({"a": (2,), "b": (1,)}, nothing, {"a": [0, 1], "b": [0.5, 1.5]})
    kinds = [one["kind"] for one in objective.document()["losses"].values()]
    assert kinds == ["softmax_cross_entropy", "mean_squared_error"]


@pytest.mark.parametrize(
    ("shapes", "loss", "weights", "said"),
    [
        ({"y": (2,)}, "squared", None, "loss: must be one of .*, got 'squared'"),
        ({"y": (2,)}, {"kind": "huber", "delta": 0}, None, "loss.delta: must be > 0, got 0"),
        ({"y": (2,)}, {"x": "huber"}, None, "losses.x: there is no such output; there is y"),
        ({"a": (2,), "b": (2,)}, {"a": "huber"}, None, "losses: has no loss for the output 'b'"),
        ({"a": (2,), "b": (2,)}, "hinge", [1, 1], "class_weights: are for a network with one out"),
        ({"y": (2,)}, "huber", [1, 1], "class_weights: go with losses of classes, not with huber"),
        ({"y": (2,)}, "binary_cross_entropy", [1, 1], "class_weights: want one unit"),
        ({"y": (3,)}, "hinge", [1, 1], "class_weights: are for 2 classes, the network has 3"),
        ({"y": (3,)}, "hinge", {"3": 1}, "class_weights: there is no class '3'; .* are 0 to 2"),
        ({"y": (2,)}, "hinge", [0, 0], "class_weights: are 0 for every class"),
        ({"y": (2,)}, "hinge", {"0": 0, "1": 0}, "class_weights: are 0 for every class"),
        ({"y": (2,)}, "focal", [[0, 1], [1, 0]], "class_weights: as a cost matrix go with"),
    ],
)
def test_what_does_not_add_up_is_refused_at_its_place(shapes, loss, weights, said):
    with pytest.raises(SpecError, match=said):
        Objective(shapes, loss, weights)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"class_weights": [[0, 1]]}, "class_weights: a cost matrix must be square"),
        ({"class_weights": [[1, 1], [1, 0]]}, "class_weights: .* zeros on its diagonal"),
        ({"class_weights": [1, -1]}, r"class_weights\[1\]: must be >= 0, got -1"),
        ({"loss": {"kind": "huber", "gamma": 2}}, "loss.gamma: is not a known field"),
        ({"loss": {"kind": "focal", "gamma": -1}}, "loss.gamma: must be >= 0, got -1"),
    ],
)
def test_a_document_that_does_not_add_up_is_refused_at_its_place(document, said):
    with pytest.raises(SpecError, match=said):
        parse(TrainingSpec, document)


def test_a_loss_by_name_is_short_for_its_defaults():
    training = parse(TrainingSpec, {"loss": "focal", "losses": {"a": "huber"}})
    rendered = training.render()
    assert rendered["loss"] == {"kind": "focal", "gamma": 2.0, "alpha": 0.25}
    assert rendered["losses"]["a"] == {"kind": "huber", "delta": 1.0}
    assert parse(TrainingSpec, rendered) == training
    with pytest.raises(SpecError, match="losses: give loss or losses, not both"):
        Objective.of({"a": (1,)}, training, [0.5])


def test_targets_of_several_outputs_are_named_where_they_are_wrong():
    objective = Objective({"a": (2,), "b": (1,)}, {"a": "hinge", "b": "huber"})
    with pytest.raises(DataError, match=r"target.a: class numbers must be 0 to 1, got 0 to 2"):
        objective.check({"a": np.array([0, 2]), "b": np.zeros(2)})
    with pytest.raises(DataError, match=r"target: must have \['a', 'b'\], got \['a'\]"):
        objective.check({"a": np.array([0, 1])})
    with pytest.raises(DataError, match=r"target: must be a mapping with \['a', 'b'\]"):
        objective.check(np.zeros(2))
    with pytest.raises(ShapeError, match="3 rows of inputs, 2 of targets"):
        objective.prepare({"a": np.array([0, 1]), "b": np.zeros(2)}, np.dtype("float32"), 3)


def rows_of(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 4)), rng.integers(0, 3, count)


def trained(rows, **training):
    """The parameters after some steps in double precision."""
    net = Network(SPEC, dtype="float64")
    training = {"epochs": 3, "shuffle": False, "optimizer": "sgd", **training}
    *_, report = chainrule.fit(net, rows, training, rows)
    return net.flat, report


def test_a_row_of_weight_2_teaches_what_two_rows_do():
    x, y = rows_of(6)
    weights = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 1.0])
    twice = np.array([0, 1, 1, 3, 4, 5])  # as many rows: the mean is over these
    weighted, report = trained((x, y, weights), batch_size=6)
    repeated, other = trained((x[twice], y[twice]), batch_size=6)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-11)
    assert report.validation["loss"] == pytest.approx(other.validation["loss"], rel=1e-11)


def test_evaluation_weighs_the_loss_and_not_the_metrics():
    net = Network(SPEC)
    x, y = rows_of(30)
    plain = evaluate(net, x, y, "softmax_cross_entropy")
    weighted = evaluate(net, x, y, "softmax_cross_entropy", sample_weight=np.full(30, 2.0))
    assert weighted["loss"] == pytest.approx(2 * plain["loss"], rel=1e-6)
    assert weighted["accuracy"] == plain["accuracy"]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.ones(5), r"must be one for each of 6 rows, got \(5,\)"),
        (np.ones((6, 3)), r"belong to leading axes of \('rows',\), got \(6, 3\)"),
        (np.full(6, np.nan), "must be finite numbers >= 0"),
        (np.full(6, -1.0), "must be finite numbers >= 0"),
        (np.array(["a"] * 6), "must be numbers"),
    ],
)
def test_weights_that_do_not_fit_the_rows_are_refused(weights, said):
    with pytest.raises(DataError, match=f"sample_weight: {said}"):
        trained((*rows_of(6), weights))


def test_class_weights_move_the_network_and_a_resume_needs_the_same():
    x, y = rows_of(12)
    plain, _ = trained((x, y))
    weighted, _ = trained((x, y), class_weights={"2": 5.0})
    assert not np.array_equal(plain, weighted)
    loop = TrainingLoop(Network(SPEC), (x, y), {"class_weights": [1, 1, 5]})
    checkpoint = loop.checkpoint()
    with pytest.raises(chainrule.CheckpointError, match="of another run: loss"):
        TrainingLoop(Network(SPEC), (x, y), {"class_weights": [1, 1, 4]}, checkpoint=checkpoint)
    TrainingLoop(Network(SPEC), (x, y), {"class_weights": [1, 1, 5]}, checkpoint=checkpoint)


TWO_BY_TWO = {
    "inputs": {"a": {"shape": [3]}, "b": {"shape": [2]}},
    "layers": [
        {"kind": "dense", "units": 4, "activation": "tanh", "inputs": ["a"], "name": "left"},
        {"kind": "dense", "units": 4, "activation": "tanh", "inputs": ["b"], "name": "right"},
        {"kind": "add", "inputs": ["left", "right"], "name": "both"},
        {"kind": "dense", "units": 1, "inputs": ["both"], "name": "value"},
        {"kind": "dense", "units": 3, "inputs": ["both"], "name": "class"},
    ],
    "outputs": ["value", "class"],
}
LOSSES_BY_OUTPUT = {"value": {"kind": "huber", "weight": 0.5}, "class": "softmax_cross_entropy"}


def two_by_two(rows):
    rng = np.random.default_rng(7)
    x = {"a": rng.standard_normal((rows, 3)), "b": rng.standard_normal((rows, 2))}
    target = {"value": x["a"][:, 0] + x["b"][:, 1], "class": (x["a"][:, 1] > 0).astype(int)}
    return x, target


def test_a_network_of_two_inputs_and_two_outputs_learns_both():
    rows = two_by_two(120)
    training = {
        "losses": LOSSES_BY_OUTPUT,
        "epochs": 40,
        "optimizer": {"kind": "adam", "learning_rate": 0.02},
    }
    net = Network(TWO_BY_TWO)
    *_, report = chainrule.fit(net, (*rows, np.ones(120)), training, rows)
    assert report.validation["class.accuracy"] > 0.95
    assert report.validation["value.r2"] > 0.9
    found = evaluate(net, *rows, LOSSES_BY_OUTPUT)
    total = 0.5 * found["value.loss"] + found["class.loss"]
    assert found["loss"] == pytest.approx(total, rel=1e-12)
    assert set(found) == set(report.validation)


def test_the_gradient_of_two_outputs_is_the_slope_of_the_total_loss():
    net = Network(TWO_BY_TWO, dtype="float64")
    x, target = two_by_two(5)
    _, gradients = net.gradients(x, target, loss=LOSSES_BY_OUTPUT)
    assert set(gradients["inputs"]) == {"a", "b"}
    for array, slope in (
        (net.parameters["left.kernel"], gradients["left.kernel"].copy()),
        (x["b"], gradients["inputs"]["b"].copy()),
    ):
        for entry in np.ndindex(array.shape):
            kept, values = array[entry], []
            for step in (1e-6, -1e-6):
                array[entry] = kept + step
                values.append(net.gradients(x, target, loss=LOSSES_BY_OUTPUT)[0])
            array[entry] = kept
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope[entry], abs=1e-8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, t: (x["a"], t), r"inputs: must be a mapping with \['a', 'b'\], got one array"),
        (lambda x, t: ({"a": x["a"]}, t), r"inputs: must be a mapping with .*, got \['a'\]"),
        (lambda x, t: ({**x, "b": x["b"][:3]}, t), "inputs: 'b' has 3 rows, the first has 5"),
        (lambda x, t: ({**x, "b": x["a"]}, t), "inputs: the network's input 'b' wants an array"),
        (lambda x, t: (x, {**t, "class": t["class"][:4]}), "target: has 4 rows, the inputs have 5"),
        (lambda x, t: (x, t["class"]), r"target: must be a mapping with \['value', 'class'\]"),
    ],
)
def test_arrays_that_are_not_those_of_the_network_are_refused(change, said):
    with pytest.raises(DataError, match=said):
        TrainingLoop(Network(TWO_BY_TWO), change(*two_by_two(5)), {"losses": LOSSES_BY_OUTPUT})


MASKED = {
    "input": {"shape": [6, 2]},
    "layers": [
        {"kind": "masking"},
        {"kind": "simple_rnn", "units": 5, "return_sequences": True},
        {"kind": "dense", "units": 3},
    ],
}


def sequences(rows):
    rng = np.random.default_rng(8)
    x, target = rng.standard_normal((rows, 6, 2)), rng.integers(0, 3, (rows, 6))
    x[1::2, 4:] = 0.0  # padding
    return x, target, np.any(x != 0.0, axis=-1)


def test_what_stands_at_padded_steps_of_a_target_does_not_matter():
    x, target, seen = sequences(6)
    net = Network(MASKED, dtype="float64")
    other = np.where(seen, target, (target + 1) % 3)
    loss, _ = net.gradients(x, target, loss="softmax_cross_entropy")
    again, _ = net.gradients(x, other, loss="softmax_cross_entropy")
    assert loss == again
    y = net.predict(x)
    assert loss == pytest.approx(LOSSES["softmax_cross_entropy"](y[seen], target[seen])[0])
    assert evaluate(net, x, target, "softmax_cross_entropy", 2) == pytest.approx(
        evaluate(net, x, other, "softmax_cross_entropy", 6)
    )


def test_weights_of_steps_are_cut_in_windows_like_the_targets():
    x, target, _ = sequences(4)
    x[x == 0.0] = 1.0
    weights = np.random.default_rng(9).uniform(0, 2, (4, 6))
    training = {"bptt_steps": 2, "batch_size": 4, "shuffle": False, "epochs": 1}
    net = Network(MASKED, dtype="float64")
    first, *_ = TrainingLoop(net, (x, target, weights), training).run()
    y = Network(MASKED, dtype="float64").predict(x)[:, :2]
    wanted, _ = LOSSES["softmax_cross_entropy"](y, target[:, :2], weights=weights[:, :2])
    assert first.loss == pytest.approx(wanted, rel=1e-12)
