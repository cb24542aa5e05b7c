"""Backward takes over what forward no longer needs: the same bits, in less memory.

Whatever is free is filled with bytes that are NaN as floats: what reads it would show it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from chainrule.fitting import TrainingLoop
from chainrule.naming import named, unnamed
from chainrule.network import Network
from chainrule.room import first_gap, joined
from chainrule.spec import nodes, parse, step_values
from chainrule.spec.architecture import ArchitectureSpec
from chainrule.tape import Tape
from tests.engine.engine_cases import CASES, case, case_id, dense, draw, layer
from tests.engine.random_graphs import graphs
from tests.engine.test_random_graphs import draw_inputs, random_cases

every_case = pytest.mark.parametrize(("spec", "shape"), CASES, ids=map(case_id, CASES))
NAN_BYTE = 0xFF


class Keeping(Tape):
    """A tape that frees nothing before the next step."""

    def free(self, since, in_use):
        pass


class Poisoned(Tape):
    """A tape that spoils what it frees, in every step."""

    def begin(self, number):
        super().begin(number)
        self.spoil()

    def free(self, since, in_use):
        super().free(since, in_use)
        self.spoil()

    def spoil(self):
        for piece in self._memory._pieces:
            start = piece.start
            for first, stop in [*self.place.used, (piece.reach, piece.reach)]:
                if first >= piece.start and start < piece.reach:
                    piece.memory[start - piece.start : max(first - piece.start, 0)] = NAN_BYTE
                start = max(start, stop)


def tape_of(kind, net, *, training):
    return kind(net.parameters.values(), dtype=net.dtype, training=training, seed=5)


def bits(kind, net, x, *, training=True, steps=3, inputs=True):
    """Return the bytes of all that some steps give, and the tape."""
    rng, tape, found = np.random.default_rng(1), tape_of(kind, net, training=training), []
    net.state.fill(0.5)
    for step in range(steps):
        tape.begin(step)
        y, backward = net.forward(x, tape, inputs=inputs)
        ys = named(y, list(net.output_shapes))
        found += [value.tobytes() for value in ys.values()]
        dys = {}
        for name, value in ys.items():  # in the tape's memory, as an objective leaves them
            dys[name] = tape.empty(value.shape)
            dys[name][...] = rng.standard_normal(value.shape)
        dx = backward(unnamed(dys))
        found += [dx.tobytes()] if inputs else []
        found += [value.tobytes() for value in ys.values()]
        found.append(tape.gradients.tobytes())
        found += [move.value.tobytes() for move in tape.moves]
        tape.apply_moves()
    return [*found, net.state.tobytes()], tape


def assert_same_bits(net, x, **options):
    wanted, keeping = bits(Keeping, net, x, **options)
    found, poisoned = bits(Poisoned, net, x, **options)
    assert found == wanted
    return keeping.scratch_bytes, poisoned.scratch_bytes


@every_case
@pytest.mark.parametrize("inputs", [True, False])
def test_no_network_reads_what_was_freed(spec, shape, inputs):
    net = Network(spec)
    x, _ = draw(spec, shape, "mean_squared_error", np.random.default_rng(0), rows=5)
    assert_same_bits(net, x.astype(np.float32), inputs=inputs)


@random_cases
@given(graphs())
def test_no_random_graph_reads_what_was_freed(spec):
    net = Network(spec, seed=2, dtype="float64")
    assert_same_bits(net, draw_inputs(spec, np.random.default_rng(3)), steps=2)


def learnt(spec, data, **options):
    training = {"loss": "mean_squared_error", "batch_size": 4, "epochs": 2, "seed": 3, **options}
    loop = TrainingLoop(Network(spec), data, training)
    list(loop.run())
    return loop.checkpoint().to_bytes()


@pytest.mark.parametrize(
    ("layers", "options"),
    [
        ([layer("lstm", units=3, return_sequences=True), dense(2)], {"bptt_steps": 2}),
        ([layer("masking"), layer("gru", units=3, return_sequences=True)], {"bptt_steps": 3}),
        ([layer("lstm", units=3, stateful=True), dense(2)], {"shuffle": False}),
        ([layer("masking"), layer("batch_norm"), layer("lstm", units=3)], {"shards": 2}),
    ],
)
def test_no_run_reads_what_was_freed(layers, options, monkeypatch):
    spec, shape = case((6, 2), *layers)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((11, *shape))
    x[::3, -2:] = 0.0
    y = rng.standard_normal((11, *Network(spec).output_shape))
    plain = learnt(spec, (x, y), **options)
    for kind in (Keeping, Poisoned):
        monkeypatch.setattr("chainrule.network.Tape", kind)
        assert learnt(spec, (x, y), **options) == plain


@every_case
def test_smaller_batches_fit_into_the_memory_of_a_large_one(spec, shape):
    net = Network(spec)
    x, _ = draw(spec, shape, "mean_squared_error", np.random.default_rng(0), rows=64)
    tape = tape_of(Tape, net, training=True)
    taken = []
    for rows in (64, 64, 63, 40, 33, 17, 8, 3, 1):
        tape.begin(rows)
        y, backward = net.forward(x[:rows].astype(np.float32), tape)
        dy = tape.empty(y.shape)
        dy.fill(1.0)
        backward(dy)
        taken.append(tape.scratch_bytes)
    assert set(taken) == {taken[0]}


def test_convolutions_one_behind_the_other_need_at_most_two_thirds_of_what_they_ask_for():
    """Of as many values each forward one array is kept, and back two more are taken."""
    convolution = {"filters": 8, "kernel_size": 5, "padding": "same", "activation": "relu"}
    spec, shape = case((16, 16, 8), *[layer("conv2d", **convolution) for _ in range(6)])
    net = Network(spec)
    x = np.random.default_rng(0).standard_normal((32, *shape)).astype(np.float32)
    kept, freed = assert_same_bits(net, x, inputs=False)
    assert freed <= 2 / 3 * kept


def test_the_estimate_of_a_chain_is_what_its_widest_place_needs():
    """Of dense layers 4 -> 50 -> 3 and no activation: the second's backward needs most."""
    walked = nodes(
        parse(ArchitectureSpec, {"input": {"shape": [4]}, "layers": [dense(50), dense(3)]})
    )
    forward, loss, slope = 50 + 3, 3 + 3, 50  # the loss's own number has a cache line
    assert step_values(walked, ["dense_2"], rows=7) == 7 * (forward + loss + slope) + 64 // 4


def test_a_step_that_asks_for_the_same_is_given_the_same():
    tape = Tape()
    tape.begin(1)
    first = tape.empty((4, 5))
    place = tape.place
    second, third = tape.empty((40, 5)), tape.empty((3,), "bool")
    tape.free(place, [third[1:], None])
    fourth = tape.empty((20, 5))
    assert np.shares_memory(fourth, second)
    assert not np.shares_memory(fourth, third)
    arrays = [first, second, third, fourth]
    tape.begin(2)
    again = [tape.empty((4, 5)), tape.empty((40, 5)), tape.empty((3,), "bool")]
    tape.free(place, [third])
    again.append(tape.empty((20, 5)))
    assert [*map(id, again)] == [*map(id, arrays)]
    tape.begin(3)
    assert np.shares_memory(tape.empty((3, 5)), first)
    other = tape.empty((40, 5))
    assert other is not second
    assert all(array.ctypes.data % 64 == 0 for array in (*arrays, other))


def test_the_first_gap_that_is_large_enough_is_taken():
    taken = joined([(10, 20), (0, 4), (20, 25), (30, 31), (3, 5)])
    assert taken == ((0, 5), (10, 25), (30, 31))
    assert [first_gap(taken, size) for size in (1, 5, 6, 9)] == [5, 5, 31, 31]
    assert first_gap(taken, 5, start=6) == 25
    assert first_gap((), 3) == 0


def test_memory_grows_by_pieces_where_no_gap_is_large_enough():
    tape = Tape()
    tape.begin(1)
    place = tape.place
    for size in (100, 200, 300):
        tape.empty((size,), np.uint8)
    asked = sum(-(-size // 64) * 64 for size in (100, 200, 300))
    assert tape.scratch_bytes == asked
    tape.free(place, [])
    assert tape.empty((320,), np.uint8).size == 320  # all of the third piece
    assert tape.scratch_bytes == asked
    tape.begin(2)
    tape.reserve(1000)
    whole = tape.empty((10,), np.uint8)
    assert tape.scratch_bytes == asked
    tape.release()
    tape.begin(3)
    assert tape.scratch_bytes == 0
    assert tape.empty((10,), np.uint8) is not whole


def test_what_is_reserved_is_one_piece_and_not_counted_before_it_is_used():
    tape = Tape()
    tape.begin(1)
    tape.reserve(10_000)
    assert tape.scratch_bytes == 0
    place = tape.place
    small = [tape.empty((1000,), np.uint8) for _ in range(3)]
    tape.free(place, small[:1])
    large = tape.empty((5000,), np.uint8)
    assert all(np.shares_memory(large, one) for one in small[1:])
    assert tape.scratch_bytes == 1024 + math.ceil(5000 / 64) * 64
    assert np.isin([np.uint8], [array.dtype for array in tape.scratch]).all()
