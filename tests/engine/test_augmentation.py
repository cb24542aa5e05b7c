"""Augmentation: each step against numpy by hand, and the same bits wherever and whenever."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.errors import CheckpointError, SpecError
from chainrule.fitting import TrainingLoop
from chainrule.fitting.augmentation import Augmentation
from chainrule.network import Network
from chainrule.streams import uniforms

FLIP = {"kind": "flip", "horizontal": 0.5, "vertical": 0.25}
SHIFT = {"kind": "shift", "height": 2, "width": 0.25}
NOISE = {"kind": "noise", "stddev": 0.5}
SHAPE = (5, 8, 2)
NETWORK = {
    "input": {"shape": list(SHAPE)},
    "layers": [
        {"kind": "conv2d", "filters": 3, "kernel_size": 3, "activation": "relu"},
        {"kind": "flatten"},
        {"kind": "dense", "units": 2},
    ],
}
TRAINING = {"loss": "mean_squared_error", "batch_size": 8, "epochs": 3, "seed": 3}


def images(rows=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, *SHAPE)).astype(np.float32)


def augmented(x, *steps, rows=None, epoch=0, seed=0):
    x = x.copy()
    rows = np.arange(len(x)) if rows is None else rows
    Augmentation(Network(NETWORK), steps, seed).apply(x, rows, epoch)
    return x


def moved(image, down, right, fill_mode, fill):
    """Move an image by a loop over its pixels."""
    height, width, _ = image.shape
    out = np.full_like(image, fill)
    for y in range(height):
        for x in range(width):
            v, u = y - down, x - right
            if fill_mode == "nearest":
                v, u = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
            elif fill_mode == "wrap":
                v, u = v % height, u % width
            if 0 <= v < height and 0 <= u < width:
                out[y, x] = image[v, u]
    return out


def test_uniform_numbers_are_splitmix64_from_a_key():
    # Another way to the same: the generator as published, one draw after the other.
    key = int(np.random.SeedSequence(7, spawn_key=(6, 1)).generate_state(1, np.uint64)[0])
    mask = 2**64 - 1

    def splitmix(number):
        z = (key + number * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return (z ^ (z >> 31)) >> 11

    wanted = [[splitmix(row * 3 + 1 + n) / 2**53 for n in range(3)] for row in (4, 0, 9)]
    assert uniforms(7, "augment", 1, rows=np.array([4, 0, 9]), count=3).tolist() == wanted


def test_flips_are_those_of_numpy_about_as_often_as_asked():
    x = images(2000)
    found = augmented(x, FLIP)
    kinds = [x, x[:, :, ::-1], x[:, ::-1], x[:, ::-1, ::-1]]
    same = np.array([(found == kind).all(axis=(1, 2, 3)) for kind in kinds])
    assert (same.sum(axis=0) == 1).all()
    # 0.5 x 0.75 and so on, within four deviations of a binomial
    wanted = np.array([0.375, 0.375, 0.125, 0.125])
    assert (abs(same.mean(axis=1) - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 2000)).all()


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "wrap"])
def test_shifts_are_those_of_a_loop_over_pixels_each_as_often(fill_mode):
    x = images(500)
    found = augmented(x, {**SHIFT, "fill_mode": fill_mode, "fill_value": 7.0})
    seen = np.zeros((5, 5), int)
    for before, after in zip(x, found, strict=True):
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)  # a quarter of 8 pixels
            if (moved(before, down, right, fill_mode, 7.0) == after).all()
        ]
        assert len(places) == 1
        seen[places[0][0] + 2, places[0][1] + 2] += 1
    assert seen.min() >= 20 - 4 * np.sqrt(20)
    assert seen.max() <= 20 + 4 * np.sqrt(20)


def test_noise_is_normal():
    added = augmented(images(1000), NOISE) - images(1000)
    count = added.size
    assert abs(added.mean()) < 4 * 0.5 / np.sqrt(count)
    assert abs(added.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * count)
    # The share within one deviation of a normal distribution
    assert abs((abs(added) < 0.5).mean() - 0.6827) < 4 * np.sqrt(0.22 / count)
    flat = added.reshape(1000, -1)
    assert abs(np.corrcoef(flat[:, 0], flat[:, 40])[0, 1]) < 4 / np.sqrt(1000)


def test_what_a_row_becomes_hangs_on_its_number_the_epoch_and_the_seed_alone():
    x = images()
    steps = (FLIP, SHIFT, NOISE)
    whole = augmented(x, *steps)
    order = np.random.default_rng(1).permutation(len(x))[:17]
    assert augmented(x[order], *steps, rows=order).tobytes() == whole[order].tobytes()
    assert (augmented(x, *steps) == whole).all()
    assert (augmented(x, *steps, epoch=1) != whole).any(axis=(1, 2, 3)).all()
    assert (augmented(x, *steps, seed=1) != whole).any(axis=(1, 2, 3)).all()


def loop_of(checkpoint=None, steps=(FLIP, SHIFT, NOISE), **more):
    x, y = images(), np.random.default_rng(1).normal(size=(40, 2))
    given = {**TRAINING, **more}
    return TrainingLoop(
        Network(NETWORK), (x, y), given, checkpoint=checkpoint, augmentation=list(steps)
    )


def end(loop, stop=None):
    for _ in loop.run():
        if loop.step == stop:
            break
    return loop.checkpoint()


def test_a_run_learns_from_what_each_epoch_makes_of_its_rows():
    x, y = images(), np.random.default_rng(1).normal(size=(40, 2))
    net = Network(NETWORK)
    for epoch in range(3):  # an epoch is one step of plain gradient descent
        changed = augmented(x, FLIP, SHIFT, NOISE, epoch=epoch, seed=3)
        _, gradients = net.gradients(changed, y, loss="mean_squared_error")
        for name, parameter in net.parameters.items():
            np.subtract(parameter, 0.01 * gradients[name], out=parameter)
    plain = loop_of(shuffle=False, batch_size=40, optimizer={"kind": "sgd", "learning_rate": 0.01})
    end(plain)
    np.testing.assert_allclose(plain.net.flat, net.flat, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("more", [{}, {"shards": 3}])
def test_a_run_that_was_stopped_ends_with_the_same_bits(more):
    whole = end(loop_of(**more)).to_bytes()
    half = end(loop_of(**more), stop=7)  # within the second epoch
    assert end(loop_of(half, **more)).to_bytes() == whole
    with pytest.raises(CheckpointError, match="of another run: augmentation"):
        loop_of(half, steps=(FLIP,), **more)


def test_threads_give_the_same_bits(monkeypatch):
    monkeypatch.setattr("chainrule.fitting.sharding._WORTH", 0)
    one, two = (end(loop_of(shards=2, threads=threads)).to_bytes() for threads in (1, 2))
    assert one == two


def test_a_probability_of_nothing_is_no_augmentation():
    nothing = {"kind": "flip", "horizontal": 0.0}
    assert end(loop_of(steps=(nothing,))).parameters.tobytes() == (
        end(loop_of(steps=())).parameters.tobytes()
    )


def test_fit_takes_the_same_document_and_leaves_validation_rows_alone():
    x, y = images(), np.random.default_rng(1).normal(size=(40, 2))
    net = Network(NETWORK)
    steps = [FLIP, SHIFT, NOISE]
    reports = [*chainrule.fit(net, (x, y), TRAINING, (x, y), augmentation=steps)]
    scored = chainrule.evaluate(net, x, y, "mean_squared_error")
    assert reports[-1].validation == pytest.approx(scored)
    loop = loop_of()
    end(loop)
    assert net.flat.tobytes() == loop.net.flat.tobytes()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"kind": "flip", "horizontal": 2}], "augmentation[0].horizontal: must be <= 1, got 2"),
        ([NOISE, {"kind": "shift", "height": 5}], "augmentation[1].height: must be < 5, the image"),
        ([{"kind": "blur"}], "augmentation[0].kind: must be one of"),
        ([{"kind": "noise"}], "augmentation[0].stddev: is missing"),
    ],
)
def test_a_step_that_does_not_add_up_is_refused(steps, message):
    with pytest.raises(SpecError) as error:
        loop_of(steps=steps)
    assert str(error.value).startswith(message)


def test_images_are_flipped_and_rows_of_numbers_are_not():
    net = Network({"input": {"shape": [4]}, "layers": [{"kind": "dense", "units": 1}]})
    with pytest.raises(SpecError, match=r"augmentation\[0\]: flip is of images"):
        Augmentation(net, [FLIP], 0)
    words = {"kind": "embedding", "input_dim": 4, "output_dim": 2}
    net = Network({"input": {"shape": [4]}, "layers": [words]})
    with pytest.raises(SpecError, match=r"augmentation\[0\]: noise makes other numbers"):
        Augmentation(net, [NOISE], 0)
