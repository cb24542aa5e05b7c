"""Recurrent layers step by step, as an ONNX Scan: with any mask and any activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.export.core import activate
from chainrule.export.writer import BOOL, FLOAT, Body, Layer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["walk_steps"]


def walk_steps(layer: Layer, spec: Any, way: str, x: str, *, backwards: bool) -> str:
    """Run a recurrent layer; a masked step leaves the state, and the output, as they are.

    The outputs stay in the order of the steps, either way round.
    """
    z = layer.op("MatMul", x, layer.weight(f"{way}kernel"))
    if spec.use_bias:
        bias = layer.own[f"{way}bias"]
        ours = bias if bias.ndim == 1 else bias[0]  # the other row is the recurrent kernel's
        z = layer.op("Add", z, layer.derived(f"{way}bias.inputs", ours))
    sequences = [z]
    if layer.mask is not None:
        sequences.append(layer.op("Unsqueeze", layer.mask, layer.constant([2], "int64")))
    batch = layer.op("Shape", x, start=0, end=1)
    size = layer.op("Concat", batch, layer.constant([spec.units], "int64"), axis=0)
    zero = layer.op("ConstantOfShape", size)
    direction = int(backwards)
    states = [zero] * spec.states
    found = layer.op(
        "Scan",
        *states,
        *sequences,
        outputs=spec.states + 1,
        body=_body(layer, spec, way),
        num_scan_inputs=len(sequences),
        scan_input_axes=[1] * len(sequences),
        scan_input_directions=[direction] * len(sequences),
        scan_output_axes=[1],
        scan_output_directions=[direction],
    )
    return str(found[-1] if spec.return_sequences else found[0])


def _body(layer: Layer, spec: Any, way: str) -> Body:
    """Write one step: from the states, and the inputs' share of the gates, to the states."""
    step = layer.inside()
    scope = step.op_name("step")
    before = [f"{scope}.{name}" for name in ("h", "c")[: spec.states]]
    z, counts = f"{scope}.z", f"{scope}.counts"
    after = _CELLS[spec.kind](step, spec, way, z, before)
    inputs = dict.fromkeys([*before, z], FLOAT)
    if layer.mask is not None:
        inputs[counts] = BOOL
        pairs = zip(after, before, strict=True)
        after = [step.op("Where", counts, new, old) for new, old in pairs]
    return Body(step.writer.operators, inputs, [*after, step.op("Identity", after[0])])


def _simple_rnn(step: Layer, spec: Any, way: str, z: str, before: list[str]) -> list[str]:
    (h,) = before
    product = step.op("MatMul", h, step.weight(f"{way}recurrent_kernel"))
    return [activate(step, spec.activation, step.op("Add", z, product))]


def _lstm(step: Layer, spec: Any, way: str, z: str, before: list[str]) -> list[str]:
    h, c = before
    product = step.op("MatMul", h, step.weight(f"{way}recurrent_kernel"))
    i, f, g, o = _split(step, spec, step.op("Add", z, product), 4)
    i, f, o = (activate(step, spec.recurrent_activation, gate) for gate in (i, f, o))
    new = step.op("Mul", i, activate(step, spec.activation, g))
    cell = step.op("Add", step.op("Mul", f, c), new)
    return [step.op("Mul", o, activate(step, spec.activation, cell)), cell]


def _gru(step: Layer, spec: Any, way: str, z: str, before: list[str]) -> list[str]:
    (h,) = before
    zu, zr, zg = _split(step, spec, z, 3)
    kernel, width = step.own[f"{way}recurrent_kernel"], 2 * spec.units
    if spec.reset_after:
        product = step.op("MatMul", h, step.weight(f"{way}recurrent_kernel"))
        if spec.use_bias:
            bias = step.own[f"{way}bias"][1]
            product = step.op("Add", product, step.derived(f"{way}bias.recurrent", bias))
        pu, pr, pg = _split(step, spec, product, 3)
    else:
        gates = step.derived(f"{way}recurrent_kernel.both", kernel[:, :width])
        pu, pr = _split(step, spec, step.op("MatMul", h, gates), 2)
    u, r = (
        activate(step, spec.recurrent_activation, step.op("Add", one, other))
        for one, other in ((zu, pu), (zr, pr))
    )
    if spec.reset_after:
        share = step.op("Mul", r, pg)
    else:
        last = step.derived(f"{way}recurrent_kernel.candidate", kernel[:, width:])
        share = step.op("MatMul", step.op("Mul", r, h), last)
    g = activate(step, spec.activation, step.op("Add", zg, share))
    return [step.op("Add", g, step.op("Mul", u, step.op("Sub", h, g)))]


def _split(step: Layer, spec: Any, gates: str, count: int) -> list[str]:
    sizes = step.constant([spec.units] * count, "int64")
    return list(step.op("Split", gates, sizes, outputs=count, axis=-1))


_CELLS: dict[str, Callable[..., list[str]]] = {
    "gru": _gru,
    "lstm": _lstm,
    "simple_rnn": _simple_rnn,
}
