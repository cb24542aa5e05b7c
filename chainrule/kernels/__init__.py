"""The loops that numpy cannot fuse, behind one set of names whatever runs them.

Each has a reference in numpy, in the modules of this package, and may have a twin in C, in
``native/``, which is compiled at install if there is a compiler. A twin takes contiguous arrays of
the types it knows and leaves all others to its reference.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from types import FunctionType
from typing import Any, NamedTuple

from chainrule.kernels import compiled
from chainrule.kernels.attention import attend, attend_backward
from chainrule.kernels.convolution import (
    convolve,
    convolve_input_gradient,
    convolve_kernel_gradient,
)
from chainrule.kernels.depthwise import (
    DepthwiseScratch,
    depthwise,
    depthwise_backward,
    depthwise_slope,
)
from chainrule.kernels.elementwise import ELEMENTWISE, Array, Elementwise
from chainrule.kernels.losses import (
    accumulate,
    add_errors,
    binary_cross_entropy,
    count_agreeing,
    count_right,
    mean_squared_error,
    softmax_cross_entropy,
)
from chainrule.kernels.normalization import (
    batch_norm,
    batch_norm_backward,
    batch_norm_moments,
    layer_norm,
    layer_norm_backward,
    reciprocal_root,
)
from chainrule.kernels.optimizers import (
    adagrad,
    adam,
    lion,
    momentum,
    nadam,
    nesterov,
    rmsprop,
    sgd,
)
from chainrule.kernels.pooling import (
    avg_pool,
    avg_pool_backward,
    global_max,
    global_max_backward,
    max_pool,
    max_pool_backward,
)
from chainrule.kernels.recurrent import (
    gru,
    gru_backward,
    lstm,
    lstm_backward,
    simple_rnn,
    simple_rnn_backward,
)
from chainrule.kernels.reference import (
    activation_backward,
    add,
    bias_activation,
    bias_activation_slope,
    column_sums,
    copy,
    fill,
    matmul,
    middle_sums,
    multiply,
    softmax,
    softmax_backward,
)
from chainrule.kernels.rows import add_rows, cast, gather, gather_runs, scale, take_rows
from chainrule.kernels.vectors import add_penalty, average, norm, swap

__all__ = [
    "ELEMENTWISE",
    "REFERENCE",
    "Array",
    "DepthwiseScratch",
    "Elementwise",
    "Noted",
    "accumulate",
    "activation_backward",
    "adagrad",
    "adam",
    "add",
    "add_errors",
    "add_penalty",
    "add_rows",
    "attend",
    "attend_backward",
    "average",
    "avg_pool",
    "avg_pool_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_moments",
    "bias_activation",
    "bias_activation_slope",
    "binary_cross_entropy",
    "cast",
    "column_sums",
    "convolve",
    "convolve_input_gradient",
    "convolve_kernel_gradient",
    "copy",
    "count_agreeing",
    "count_right",
    "depthwise",
    "depthwise_backward",
    "depthwise_slope",
    "fill",
    "gather",
    "gather_runs",
    "global_max",
    "global_max_backward",
    "gru",
    "gru_backward",
    "in_use",
    "layer_norm",
    "layer_norm_backward",
    "lion",
    "lstm",
    "lstm_backward",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "mean_squared_error",
    "middle_sums",
    "momentum",
    "multiply",
    "nadam",
    "nesterov",
    "norm",
    "program",
    "reciprocal_root",
    "recording",
    "rmsprop",
    "scale",
    "sgd",
    "simple_rnn",
    "simple_rnn_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "swap",
    "take_rows",
    "use_native",
    "use_reference",
]


class Noted(NamedTuple):
    """A call of a kernel, as it was made; ``again`` makes it once more."""

    kernel: Callable[..., Any]
    args: tuple[Any, ...]
    again: Callable[[], Any]


REFERENCE: dict[str, Callable[..., Any]] = {
    name: value
    for name, value in globals().items()
    if name in __all__ and isinstance(value, FunctionType)
}
_native: str | None = None
_bound = REFERENCE  # what runs under the names
_records: dict[int, list[Noted]] = {}  # by the thread whose calls they are
_recording = Lock()


def in_use() -> str:
    """Return which kernels run: "native" and the processor's kind, or "numpy"."""
    return "numpy" if _native is None else f"native {_native}"


def use_native(variant: str | None = None) -> bool:
    """Run the compiled kernels from now on, if there are any; of the best kind if none is named."""
    variants = compiled.variants()
    if not variants:
        return False
    chosen = variants[0] if variant is None else variant
    _bind(chosen, {**REFERENCE, **compiled.bind(chosen, REFERENCE)})
    return True


def use_reference() -> None:
    """Run all kernels in numpy from now on."""
    _bind(None, REFERENCE)


@contextmanager
def recording() -> Iterator[list[Noted]]:
    """Note each kernel that this thread calls, with its arguments: to be called as it was."""
    calls: list[Noted] = []
    with _recording:
        _records[get_ident()] = calls
        globals().update({name: _noted(kernel) for name, kernel in _bound.items()})
    try:
        yield calls
    finally:
        with _recording:
            del _records[get_ident()]
            if not _records:
                globals().update(_bound)


def program(calls: list[Noted]) -> Callable[[], object]:
    """Return what makes some calls again, one after the other."""
    return compiled.program([call.again for call in calls])


def _noted(kernel: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        record = _records.get(get_ident())
        if record is None:
            return kernel(*args, **named)
        again, result = compiled.call(kernel, args, named)
        record.append(Noted(kernel, (*args, *named.values()), again))
        return result

    return call


def _bind(native: str | None, kernels: dict[str, Callable[..., Any]]) -> None:
    globals().update(kernels, _native=native, _bound=kernels)


use_native()
