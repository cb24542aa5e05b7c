"""Compiled copies, sums and products of arrays however they lie, beside numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.kernels import compiled
from tests.engine.test_native_kernels import every_dtype, every_variant, strict

pytestmark = pytest.mark.skipif(not compiled.variants(), reason="there are no compiled kernels")

# Views of (4, 5, 6) numbers, and of what is repeated to that.
VIEWS = {
    "as it is": lambda a: a((4, 5, 6)),
    "time first": lambda a: a((5, 4, 6)).transpose(1, 0, 2),
    "all turned": lambda a: a((6, 5, 4)).T,
    "against the steps": lambda a: a((4, 5, 6))[:, ::-1],
    "every other": lambda a: a((4, 10, 12))[:, ::2, ::2],
    "some columns": lambda a: a((4, 5, 9))[..., 2:8],
}
REPEATED = {
    "a row": lambda a: a((6,)),
    "rows": lambda a: a((5, 1)),
    "one of many": lambda a: a((4, 1, 6)),
    "one": lambda a: a(()),
}
every_view = pytest.mark.parametrize("view", VIEWS)
every_operand = pytest.mark.parametrize("operand", [*VIEWS, *REPEATED])


def drawn(operand, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return {**VIEWS, **REPEATED}[operand](lambda shape: np.array(rng.standard_normal(shape), dtype))


@every_variant
@every_dtype
@every_view
@every_operand
def test_copies_and_sums_are_numpys_to_the_bit(view, operand, dtype, variant):
    kernels = strict(variant)
    a, b, out = drawn(view, dtype), drawn(operand, dtype, 1), drawn(view, dtype, 2)
    for name, wanted in [("add", a + b), ("multiply", a * b)]:
        kernels[name](a, b, out)
        assert (out == wanted).all()
    kernels["copy"](b, out)
    assert (out == b).all()
    kernels["multiply"](out, 0.1, out)
    assert (out == b * out.dtype.type(0.1)).all()
    kernels["fill"](out, 0.3)
    assert (out == out.dtype.type(0.3)).all()


@every_variant
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "intp"])
def test_a_copy_takes_any_type(dtype, variant):
    x = np.random.default_rng(3).integers(0, 2, (3, 7)).astype(dtype)
    out = np.empty((7, 3), dtype).T
    strict(variant)["copy"](x, out)
    assert (out == x).all()


@every_variant
def test_only_what_is_asked_for_is_written(variant):
    whole = np.zeros((4, 9), np.float32)
    strict(variant)["fill"](whole[1:3, ::3], 1.0)
    assert whole.sum() == 6
    assert (whole[1:3, ::3] == 1.0).all()


@every_variant
def test_what_does_not_fit_fails_as_in_numpy(variant):
    kernels = compiled.bind(variant, {"add": np.add, "copy": lambda x, out: np.copyto(out, x)})
    with pytest.raises(ValueError, match="broadcast"):
        kernels["copy"](np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="broadcast"):
        kernels["add"](np.zeros(2), np.zeros(3), np.zeros(3))
