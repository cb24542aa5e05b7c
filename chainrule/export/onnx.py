"""A network as an ONNX file: opset 17, any number of rows, float32, the same bytes every time."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError
from chainrule.export import attention, conv, core, norm, recurrent
from chainrule.export.writer import FLOAT, Body, Layer, Operator, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto

    from chainrule.network import Network
    from chainrule.recipe import Recipe

__all__ = ["BATCH", "CONVERTERS", "IR_VERSION", "OPSET", "to_onnx"]

OPSET, IR_VERSION = 17, 10
BATCH = "batch"  # the name of the free first axis
# A kind to what writes it: (layer, names of its inputs) -> name of its output.
CONVERTERS: dict[str, Callable[..., str]] = {
    **core.CONVERTERS,
    **attention.CONVERTERS,
    **conv.CONVERTERS,
    **norm.CONVERTERS,
    **recurrent.CONVERTERS,
}
_ABOUT = (
    "A network trained by chainrule. Inputs are features, as the training's preprocessing makes"
    " them of raw rows (metadata: recipe, where there was one). Outputs are the raw ones of the"
    " output layers: no sigmoid or softmax of the loss, no scaling back to the target's units."
)


def to_onnx(net: Network, *, recipe: Recipe | None = None) -> bytes:
    """Return the network as an ONNX model; its inputs and outputs have the network's names.

    ``recipe`` is kept as JSON among the metadata, for who prepares the inputs; the graph leaves it
    out.
    Shapes: (batch, *shape) in and out, float32 whatever the network's precision.
    Raises: ChainruleError, if the onnx package is missing.
    """
    try:
        helper = importlib.import_module("onnx.helper")
        numpy_helper = importlib.import_module("onnx.numpy_helper")
    except ImportError as error:
        message = "ONNX files need the onnx package: pip install 'chainrule[onnx]'"
        raise ChainruleError(message) from error
    writer = _write(net)
    graph = helper.make_graph(
        [_node(helper, operator) for operator in writer.operators],
        net.spec.name,
        _values(helper, net.input_shapes),
        _values(helper, net.output_shapes),
        [numpy_helper.from_array(array, name) for name, array in writer.tensors.items()],
    )
    model: ModelProto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="chainrule",
        doc_string=_ABOUT,
    )
    if recipe is not None:
        text = json.dumps(recipe.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        helper.set_model_props(model, {"recipe": text})
    return bytes(model.SerializeToString(deterministic=True))


def _node(helper: Any, operator: Operator) -> Any:
    """Turn an operator into protobuf, and any graph within it."""
    found = operator.attributes
    attributes = {k: _body(helper, v) if isinstance(v, Body) else v for k, v in found.items()}
    name = operator.outputs[0]
    return helper.make_node(operator.kind, operator.inputs, operator.outputs, name, **attributes)


def _body(helper: Any, body: Body) -> Any:
    make = helper.make_tensor_value_info
    return helper.make_graph(
        [_node(helper, operator) for operator in body.operators],
        "step",
        [make(name, kind, None) for name, kind in body.inputs.items()],
        [make(name, FLOAT, None) for name in body.outputs],
    )


def _values(helper: Any, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    make = helper.make_tensor_value_info
    return [make(name, FLOAT, [BATCH, *shape]) for name, shape in shapes.items()]


def _write(net: Network) -> Writer:
    """Run through the layers in order, as a forward pass does, with names for arrays."""
    writer = Writer()
    tensors = {**net.parameters, **net.states}
    values = {name: name for name in net.input_shapes}
    masks: dict[str, str | None] = dict.fromkeys(net.input_shapes)
    nodes = {node.name: node for node in net.nodes}
    for node in net.nodes:
        owner = nodes[node.shares or node.name]
        own = {weight.name: tensors[f"{owner.name}.{weight.name}"] for weight in owner.weights}
        layer = Layer(node, own, writer, source_masks=[masks[source] for source in node.inputs])
        layer.mask = _joined(layer)
        values[node.name] = CONVERTERS[node.spec.kind](layer, *(values[n] for n in node.inputs))
        masks[node.name] = layer.mask if node.spec.keeps_mask else None
    _name_outputs(net, writer, values)
    return writer


def _joined(layer: Layer) -> str | None:
    """Return the mask of several inputs together: a step counts where it counts in each."""
    known = [mask for mask in layer.source_masks if mask is not None]
    if not known:
        return None
    joined = known[0]
    for mask in known[1:]:
        joined = layer.op("And", joined, mask)
    return joined


def _name_outputs(net: Network, writer: Writer, values: dict[str, str]) -> None:
    """Name the outputs as their layers, and drop what they do not need.

    A layer that passes its input on, such as dropout, has no value of its own to rename.
    """
    made = {name for operator in writer.operators for name in operator.outputs}
    for node in net.nodes:
        if node.name not in net.output_shapes:
            continue
        value = values[node.name]
        if value in made and value not in net.output_shapes:
            writer.rename(value, node.name)
            values.update({name: node.name for name, old in values.items() if old == value})
            made = made - {value} | {node.name}
        else:
            writer.operators.append(Operator("Identity", [value], [node.name], {}))
    writer.prune(list(net.output_shapes))
