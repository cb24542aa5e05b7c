"""A network as an ONNX file: opset 17, any number of rows, float32, the same bytes every time."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Literal

from chainrule.errors import ChainruleError, SpecError
from chainrule.export import attention, conv, core, norm, recurrent
from chainrule.export.answers import Answer, write_answers
from chainrule.export.columns import ML, cell_types, write_features, write_scaled
from chainrule.export.writer import FLOAT, Body, Layer, Operator, Writer
from chainrule.recipe.inputs import ArrayInputs, TableInputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onnx import ModelProto

    from chainrule.network import Network
    from chainrule.recipe import Recipe

__all__ = ["BATCH", "CONVERTERS", "IR_VERSION", "OPSET", "InputsOption", "to_onnx"]

InputsOption = Literal["features", "raw"]

OPSET, ML_OPSET, IR_VERSION = 17, 3, 10
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
_ABOUT_RAW = (
    "A network trained by chainrule, and all around it. Inputs are the columns of a table as they"
    " are, one value a row: text, or float64 with NaN where missing (dates: seconds since 1970), or"
    " the training's arrays. Outputs are labels, probabilities, and values in the target's units."
)


def to_onnx(
    net: Network, *, recipe: Recipe | None = None, inputs: InputsOption = "features"
) -> bytes:
    """Return the network as an ONNX model; its inputs and outputs have the network's names.

    ``recipe`` is kept as JSON among the metadata, for who prepares the inputs; the graph leaves it
    out. With inputs that are ``raw`` it is in the graph: an input for each column of the table, of
    its name, and ``predictions`` and ``probabilities`` as ``Model.predict`` answers.
    Shapes: (batch, *shape) in and out, float32 whatever the network's precision; raw columns
    (batch, 1), text or float64.
    Raises: ChainruleError, if the onnx package is missing; SpecError at ``inputs``, if the recipe
    cannot be written in ONNX.
    """
    try:
        helper = importlib.import_module("onnx.helper")
        numpy_helper = importlib.import_module("onnx.numpy_helper")
    except ImportError as error:
        message = "ONNX files need the onnx package: pip install 'chainrule[onnx]'"
        raise ChainruleError(message) from error
    if inputs == "raw":
        writer, given, answers = _write_raw(net, recipe)
    else:
        writer = _write(net, Writer(), {})
        given = {name: Answer(FLOAT, shape) for name, shape in net.input_shapes.items()}
        answers = {name: Answer(FLOAT, shape) for name, shape in net.output_shapes.items()}
    graph = helper.make_graph(
        [_node(helper, operator) for operator in writer.operators],
        net.spec.name,
        _values(helper, given),
        _values(helper, answers),
        [numpy_helper.from_array(array, name) for name, array in writer.tensors.items()],
    )
    model: ModelProto = helper.make_model(
        graph,
        opset_imports=_opsets(helper, writer),
        ir_version=IR_VERSION,
        producer_name="chainrule",
        doc_string=_ABOUT_RAW if inputs == "raw" else _ABOUT,
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


def _values(helper: Any, values: Mapping[str, Answer]) -> list[Any]:
    make = helper.make_tensor_value_info
    return [make(name, one.type, [BATCH, *one.shape]) for name, one in values.items()]


def _opsets(helper: Any, writer: Writer) -> list[Any]:
    domains = {operator.attributes.get("domain", "") for operator in writer.operators}
    others = [helper.make_opsetid(ML, ML_OPSET)] if ML in domains else []
    return [helper.make_opsetid("", OPSET), *others]


def _write_raw(
    net: Network, recipe: Recipe | None
) -> tuple[Writer, dict[str, Answer], dict[str, Answer]]:
    """Write the network between its raw inputs and its answers.

    Raises: SpecError at ``inputs``.
    """
    if recipe is None:
        raise SpecError.at("inputs", "the model has no recipe: its inputs are features")
    if recipe.window is not None:
        raise SpecError.at("inputs", "a window is of many raw rows: take inputs=features")
    writer = Writer()
    by_input = recipe.inputs if isinstance(recipe.inputs, dict) else {}
    found = {name: by_input.get(name, recipe.inputs) for name in net.input_shapes}
    tables = {name: one for name, one in found.items() if isinstance(one, TableInputs)}
    given = {name: Answer(type_, (1,)) for name, type_ in cell_types([*tables.values()]).items()}
    features = {name: write_features(one, writer, name) for name, one in tables.items()}
    for name, shape in net.input_shapes.items():
        array = found[name]
        if isinstance(array, ArrayInputs):
            given[name] = Answer(FLOAT, shape)
            if array.scale is not None:
                features[name] = write_scaled(array.scale, writer, name)
    _write(net, writer, features)
    answers = write_answers(recipe, writer, net.output_shapes)
    writer.prune([*answers])
    made = {name for operator in writer.operators for name in operator.outputs}
    for name in given:
        if name in made or name in writer.tensors:
            detail = f"column {name!r} has the name of a layer: take inputs=features"
            raise SpecError.at("inputs", detail)
    return writer, given, answers


def _write(net: Network, writer: Writer, features: Mapping[str, str]) -> Writer:
    """Run through the layers in order, as a forward pass does, with names for arrays.

    ``features`` are the values that stand for inputs which are no input of the graph.
    """
    tensors = {**net.parameters, **net.states}
    values = {name: features.get(name, name) for name in net.input_shapes}
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
