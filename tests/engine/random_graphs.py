"""Random architectures: valid graphs of 2 to 12 layers over all kinds, and ways to break them."""

from __future__ import annotations

import copy
import math

from hypothesis import assume
from hypothesis import strategies as st

from chainrule.errors import SpecError
from chainrule.spec import KINDS, ArchitectureSpec, nodes, parse

MOST_VALUES = 400  # of one layer's output: a case is to cost milliseconds

small = st.integers(1, 4)
elementwise = st.sampled_from(
    ["linear", "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softplus", "swish"]
)
bounded = st.sampled_from(["tanh", "sigmoid"])  # what a long chain of layers cannot blow up
yes_or_no = st.booleans()
padding = st.sampled_from(["valid", "same"])
pair = st.integers(1, 3) | st.lists(st.integers(1, 3), min_size=2, max_size=2)
INPUTS = st.one_of(
    st.tuples(st.integers(2, 6)),
    st.tuples(st.integers(3, 6), st.integers(1, 4)),
    st.tuples(st.integers(4, 7), st.integers(4, 7), st.integers(1, 3)),
)
# One of these opens a graph over whole numbers.
VOCABULARY = 7


def fields(**strategies):
    return st.fixed_dictionaries(strategies)


convolution = {
    "filters": small,
    "strides": st.integers(1, 2),
    "padding": padding,
    "activation": bounded,
    "use_bias": yes_or_no,
}
recurrent = {
    "units": small,
    "return_sequences": yes_or_no,
    "go_backwards": yes_or_no,
    "use_bias": yes_or_no,
}
cells = st.one_of(
    fields(kind=st.just("simple_rnn"), **recurrent),
    fields(kind=st.just("lstm"), **recurrent),
    fields(kind=st.just("gru"), reset_after=yes_or_no, **recurrent),
)
# A kind to its number of axes (None: any) and its fields; what does not fit is drawn again.
KIND_FIELDS = {
    "dense": (None, fields(units=small, activation=elementwise, use_bias=yes_or_no)),
    "activation": (None, fields(activation=elementwise | st.just("softmax"))),
    "dropout": (None, fields(rate=st.just(0.0))),
    "flatten": (None, fields()),
    "reshape": (None, fields(target_shape=st.sampled_from([[-1, 1], [2, -1], [-1, 2, 1], [-1]]))),
    "conv1d": (2, fields(kernel_size=st.integers(1, 3), **convolution)),
    "conv2d": (3, fields(kernel_size=pair, **convolution)),
    "depthwise_conv2d": (
        3,
        fields(
            kernel_size=pair,
            depth_multiplier=st.integers(1, 2),
            strides=st.integers(1, 2),
            padding=padding,
            activation=bounded,
        ),
    ),
    "separable_conv2d": (
        3,
        fields(kernel_size=pair, depth_multiplier=st.integers(1, 2), **convolution),
    ),
    "conv2d_transpose": (3, fields(kernel_size=pair, **convolution)),
    "max_pool1d": (2, fields(pool_size=st.integers(1, 2), padding=padding)),
    "max_pool2d": (3, fields(pool_size=st.integers(1, 2), padding=padding)),
    "avg_pool2d": (3, fields(pool_size=st.integers(1, 3), strides=small, padding=padding)),
    "global_avg_pool2d": (3, fields()),
    "global_max_pool1d": (2, fields()),
    "up_sampling2d": (3, fields(size=st.integers(1, 2))),
    "batch_norm": (None, fields(center=yes_or_no, scale=yes_or_no)),
    "layer_norm": (None, fields(center=yes_or_no, scale=yes_or_no)),
    "simple_rnn": (2, fields(**recurrent)),
    "lstm": (2, fields(**recurrent)),
    "gru": (2, fields(reset_after=yes_or_no, **recurrent)),
    "bidirectional": (
        2,
        fields(layer=cells, merge_mode=st.sampled_from(["concat", "sum", "mul", "ave"])),
    ),
    "repeat_vector": (1, fields(n=small)),
    "masking": (2, fields(mask_value=st.just(0.0))),
    "positional_embedding": (2, fields()),
    "multi_head_attention": (
        2,
        fields(num_heads=st.integers(1, 2), key_dim=small, use_causal_mask=yes_or_no),
    ),
}
JOINING = ("add", "multiply", "concat")


@st.composite
def graphs(draw):
    """Return the document of a valid architecture; every end of the graph is an output."""
    length = draw(st.integers(2, 12))
    layers = []
    if "embedding" in KINDS and draw(st.integers(0, 5)) == 0:
        shape = (draw(st.integers(2, 5)),)
        embedding = {"kind": "embedding", "input_dim": VOCABULARY, "output_dim": draw(small)}
        layers.append({**embedding, "mask_zero": draw(yes_or_no)})
    else:
        shape = draw(INPUTS)
    document = {"name": "random", "input": {"shape": list(shape)}, "layers": layers}
    for _ in range(40):  # draws that do not fit are tried again
        if len(layers) == length:
            break
        candidate = draw(_layer(_shapes(document)))
        if candidate is not None and _fits(document, candidate):
            layers.append(candidate)
    assume(len(layers) >= 2)
    return closed(document)


@st.composite
def _layer(draw, shapes):
    """Return a layer upon one of the values so far, mostly the newest; None if none was found."""
    newest = list(shapes)[-1]
    source = newest if draw(st.integers(0, 3)) else draw(st.sampled_from(list(shapes)))
    shape = shapes[source]
    kind = draw(st.sampled_from([*KIND_FIELDS, *JOINING, "shared"]))
    if kind == "shared":
        known = [name for name in shapes if name != "input" and not name.startswith("shared")]
        if not known:
            return None
        return {"kind": kind, "layer": draw(st.sampled_from(known)), "inputs": [source]}
    if kind in JOINING:
        alike = [name for name, other in shapes.items() if other == shape]
        count = draw(st.integers(2, 3))
        return {
            "kind": kind,
            "inputs": draw(st.lists(st.sampled_from(alike), min_size=count, max_size=count)),
        }
    axes, more = KIND_FIELDS[kind]
    if kind not in KINDS or axes not in (None, len(shape)):
        return None
    return {"kind": kind, "inputs": [source], **draw(more)}


def _shapes(document):
    """Return the shape of the input and of each layer so far, in the order of the document."""
    shape = tuple(document["input"]["shape"])
    if not document["layers"]:
        return {"input": shape}
    found = {
        node.name: node.output_shape for node in nodes(parse(ArchitectureSpec, closed(document)))
    }
    whole_numbers = document["layers"][0]["kind"] == "embedding"
    return found if whole_numbers else {"input": shape, **found}


def _fits(document, candidate):
    attempt = {**document, "layers": [*document["layers"], candidate]}
    try:
        walked = nodes(parse(ArchitectureSpec, closed(attempt)))
    except SpecError:
        return False
    return all(math.prod(node.output_shape) <= MOST_VALUES for node in walked)


def closed(document):
    """Return the document with every layer that feeds none as an output."""
    spec = parse(ArchitectureSpec, {**document, "outputs": None})
    names = spec.names
    fed = {
        source
        for index, layer in enumerate(spec.layers)
        for source in (layer.inputs or ([names[index - 1]] if index else ["input"]))
    }
    return {**document, "outputs": [name for name in names if name not in fed]}


@st.composite
def broken_graphs(draw):
    """Return a document in which one thing is wrong."""
    document = copy.deepcopy(draw(graphs()))
    names = parse(ArchitectureSpec, document).names
    layers = document["layers"]
    index = draw(st.integers(0, len(layers) - 1))
    layer = layers[index]
    match draw(
        st.sampled_from(["unknown", "cycle", "dangling", "kind", "field", "name", "output"])
    ):
        case "unknown":
            layer["inputs"] = ["nowhere"]
        case "cycle":
            layer["inputs"] = [names[index]] * max(1, len(layer.get("inputs", [1])))
        case "dangling":
            layers.append({"kind": "activation", "activation": "relu", "inputs": [names[index]]})
        case "kind":
            layer["kind"] = "convolution"
        case "field":
            layer["nonsense"] = 1
        case "name":
            layers.append({"kind": "flatten", "name": names[index], "inputs": [names[index]]})
        case "output":
            document["outputs"] = [*document["outputs"], "nowhere"]
    return document
