"""Each compiled kernel beside its reference in numpy, for every kind of processor that this is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule import kernels
from chainrule.kernels import compiled
from tests.engine.native_cases import CASES as OF_VECTORS
from tests.engine.native_image_cases import CASES as OF_IMAGES
from tests.engine.native_recurrent_cases import CASES as OF_SEQUENCES

CASES = OF_VECTORS + OF_IMAGES + OF_SEQUENCES
SIZES = [0, 1, 7, 8, 9, 31, 1000]
TOLERANCE: Any = {
    "float32": {"rtol": 2e-5, "atol": 2e-6},
    "float64": {"rtol": 1e-12, "atol": 1e-14},
}
ACTIVATIONS = sorted(kernels.ELEMENTWISE)

pytestmark = pytest.mark.skipif(not compiled.variants(), reason="there are no compiled kernels")
every_variant = pytest.mark.parametrize("variant", compiled.variants())
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def strict(variant):
    """Return the kernels of a variant, to none of which the reference is a way out."""

    def refuse(*args, **more):
        raise AssertionError("the kernel left its arguments to the reference")

    return compiled.bind(variant, dict.fromkeys(kernels.REFERENCE, refuse))


def copy_of(value):
    """Copy an array, and the memory in which it is a view: it lies in the copy as it did."""
    if value.base is None:
        return value.copy()
    memory = value.base.ravel(order="K").copy()
    start = value.ctypes.data - value.base.ctypes.data
    return np.ndarray(value.shape, value.dtype, memory, start, value.strides)


def copies(values, copy=copy_of):
    """Copy arrays; what is one array in two places stays one."""
    made = {id(value): copy(value) for value in values if isinstance(value, np.ndarray)}
    return [made.get(id(value), value) for value in values]


def assert_like_the_reference(kernel, case, drawn, dtype, copy=copy_of):
    """Run both on copies: every array, written to or not, and the result must be the same."""
    arguments, more = drawn
    ours, theirs = copies(arguments, copy), copies(arguments)
    with np.errstate(all="ignore"):
        results = kernel(*ours, **more), kernels.REFERENCE[case.name](*theirs, **more)
    near = {**TOLERANCE[dtype], "atol": max(case.atol, TOLERANCE[dtype]["atol"])}
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if isinstance(one, np.ndarray) and place not in case.scratch:
            np.testing.assert_allclose(one, other, **near, err_msg=f"argument {place}")
    if results[1] is None:
        assert results[0] is None
    else:
        np.testing.assert_allclose(*results, **TOLERANCE[dtype])


def test_every_kernel_has_a_reference_and_a_case():
    names = set(strict(compiled.variants()[0]))
    assert names <= set(kernels.REFERENCE)
    assert {case.name for case in CASES} == names


@every_variant
@every_dtype
@every_case
@pytest.mark.parametrize("size", SIZES)
def test_a_kernel_does_what_its_reference_does(case, size, dtype, variant):
    if size < case.least:
        return  # the reference itself may not take that
    args, more = case.draw(np.random.default_rng(size), size, dtype)
    takes = dtype in case.dtypes and size >= case.own
    bound = strict(variant) if takes else compiled.bind(variant, kernels.REFERENCE)
    assert_like_the_reference(bound[case.name], case, (args, more), dtype)


@every_variant
@every_case
def test_a_kernel_leaves_what_lies_apart_to_its_reference(case, variant):
    """Arrays of every other column: no kernel takes them, each must get them right."""

    def spread(value):
        if value.ndim == 0:
            return value.copy()
        wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
        wide[..., ::2] = value
        return wide[..., ::2]

    args, more = case.draw(np.random.default_rng(0), 9, "float32")
    kernel = compiled.bind(variant, kernels.REFERENCE)[case.name]
    assert_like_the_reference(kernel, case, (args, more), "float32", spread)


@every_variant
@every_case
def test_the_bits_do_not_hang_on_where_the_arrays_lie(case, variant):
    args, more = case.draw(np.random.default_rng(1), 1000, "float32")
    kernel = strict(variant)[case.name]
    seen = set()
    for offset in range(0, 64, 12):

        def move(value, offset=offset):
            memory = np.zeros(value.nbytes + 128, np.uint8)
            start = -memory.ctypes.data % 64 + offset * (value.itemsize == 4)
            view = memory[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
            np.copyto(view, value)
            return view

        moved = copies(args, move)
        result = kernel(*moved, **more)
        whole = b"".join(
            value.tobytes()
            for place, value in enumerate(moved)
            if isinstance(value, np.ndarray) and place not in case.scratch
        )
        seen.add((result, whole))
    assert len(seen) == 1


@every_variant
@every_case
def test_a_recorded_call_is_made_again_over_what_its_arrays_then_hold(case, variant):
    first, more = case.draw(np.random.default_rng(2), 31, "float32")
    then, _ = case.draw(np.random.default_rng(3), 31, "float32")
    ours, theirs = copies(first), copies(then)
    kernel = strict(variant)[case.name]
    again, result = compiled.call(kernel, tuple(ours), more)
    for own, new in zip(ours, theirs, strict=True):
        if isinstance(own, np.ndarray):
            np.copyto(own, new)
    wanted = kernel(*theirs, **more)
    again()
    assert result is wanted is None
    for place, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        if isinstance(own, np.ndarray) and place not in case.scratch:
            assert own.tobytes() == other.tobytes(), f"argument {place}"


@every_variant
def test_a_program_makes_its_calls_in_order_whoever_makes_them(variant):
    x, rows, out = np.arange(6.0), np.array([1, 3]), np.empty(2)
    copies = []
    bound = compiled.bind(variant, kernels.REFERENCE)
    calls = [
        compiled.call(bound["gather"], (x, rows, out), {})[0],
        lambda: copies.append(out.copy()),
        compiled.call(bound["gather"], (x[::2], rows[:1], out[:1]), {})[0],  # its reference
        lambda: copies.append(out.copy()),
    ]
    run = compiled.program(calls)
    copies.clear()
    x += 1.0
    run()
    run()
    assert [copy.tolist() for copy in copies] == [[2.0, 4.0], [3.0, 4.0]] * 2


@every_variant
def test_a_program_ends_where_a_call_fails(variant):
    bound = compiled.bind(variant, kernels.REFERENCE)
    logits, classes = np.zeros((1, 3), np.float32), np.array([2])
    arguments = (logits, classes, logits.copy(), np.zeros(()))
    call, _ = compiled.call(bound["softmax_cross_entropy"], arguments, {})
    ends = []
    run = compiled.program([call, lambda: ends.append(1)])
    classes[0] = 3
    with pytest.raises(IndexError):
        run()
    assert not ends
    classes[0] = 0
    run()
    assert ends == [1]


def test_only_calls_of_kernels_are_recorded():
    with pytest.raises(TypeError, match="kernel"):
        compiled._native.Recorded(len, ([],), {})


@every_variant
def test_a_wrong_call_fails_as_the_reference_does(variant):
    bound = compiled.bind(variant, kernels.REFERENCE)
    x = np.zeros(3, np.float32)
    with pytest.raises(TypeError, match="sgd"):
        bound["sgd"](x, x)
    with pytest.raises(TypeError, match="sgd"):
        bound["sgd"](x, x, 0.1, 0.2)
    with pytest.raises(KeyError, match="cubic"):
        bound["bias_activation"](x, None, "cubic", x)
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        bound["sgd"](frozen, x, 0.1)
    logits = np.zeros((1, 3), np.float32)
    with pytest.raises(IndexError):
        bound["softmax_cross_entropy"](logits, np.array([3]), logits.copy(), np.zeros(()))


@every_variant
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_within_3_in_10_million_of_float64(name, variant):
    x = np.concatenate([np.linspace(-12, 12, 20001), np.logspace(-30, 1, 999)]).astype(np.float32)
    y, wanted = np.empty_like(x), np.empty(x.shape)
    strict(variant)["bias_activation"](x, None, name, y)
    kernels.ELEMENTWISE[name].value(x.astype(np.float64), wanted)
    np.testing.assert_allclose(y, wanted, rtol=3.2e-7)


@every_variant
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_not_a_number_stays_so(name, variant):
    """A loss that is not a number tells that training went astray: no kernel may hide it."""
    x = np.full(21, np.nan, np.float32)
    y, dx = np.zeros_like(x), np.zeros_like(x)
    strict(variant)["bias_activation"](x, None, name, y)
    strict(variant)["activation_backward"](name, x, y, x, dx)
    assert np.isnan(y).all()
    assert np.isnan(dx).all()


def test_the_reference_can_be_chosen():
    before = kernels.in_use()
    try:
        kernels.use_reference()
        assert kernels.in_use() == "numpy"
        assert kernels.adam is kernels.REFERENCE["adam"]
        assert kernels.use_native("baseline")
        assert kernels.in_use() == "native baseline"
        assert kernels.adam is not kernels.REFERENCE["adam"]
    finally:
        kernels.use_reference()
        if before != "numpy":
            kernels.use_native(before.removeprefix("native "))


def test_a_kind_of_processor_that_this_is_not_is_refused():
    with pytest.raises(ValueError, match="cray"):
        compiled.bind("cray", {})
