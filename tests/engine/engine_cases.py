"""The one table of networks that every engine test of a kind runs through: (spec, input shape)."""

from __future__ import annotations

from chainrule.losses import LOSSES
from chainrule.spec.layers import ACTIVATIONS


def dense(units, activation="linear", **more):
    return {"kind": "dense", "units": units, "activation": activation, **more}


def case(shape, *layers):
    return {"name": "case", "input": {"shape": list(shape)}, "layers": list(layers)}, tuple(shape)


def layer(kind, **fields):
    return {"kind": kind, **fields}


def rnn(kind, units=3, **fields):
    return layer(kind, units=units, **fields)


def both_ways(of, **fields):
    return layer("bidirectional", layer=of, **fields)


RECURRENT = [
    case((5, 2), rnn("simple_rnn")),
    case((5, 2), rnn("lstm")),
    case((5, 2), rnn("gru")),
    case((5, 2), rnn("gru", reset_after=False)),
    case((1, 2), rnn("lstm", units=1, return_sequences=True, unit_forget_bias=False)),
    case(
        (5, 2),
        rnn("simple_rnn", activation="softplus", use_bias=False, dropout=0.3),
        dense(2),
    ),
    case(
        (5, 2),
        rnn("lstm", use_bias=False, return_sequences=True, recurrent_dropout=0.3),
        rnn("gru", use_bias=False, return_sequences=True, go_backwards=True, stateful=False),
        rnn("simple_rnn", units=2, dropout=0.2, recurrent_dropout=0.4),
    ),
    case(
        (5, 2),
        rnn("gru", return_sequences=True, activation="swish", dropout=0.3, recurrent_dropout=0.4),
        rnn("gru", reset_after=False, recurrent_activation="gelu", use_bias=False),
    ),
    case(
        (5, 2),
        rnn("gru", reset_after=False, return_sequences=True, recurrent_dropout=0.4),
        rnn("lstm", go_backwards=True, activation="gelu", recurrent_activation="swish"),
    ),
    case((4, 2), both_ways(rnn("simple_rnn")), dense(2)),
    case((4, 2), both_ways(rnn("lstm", units=2, return_sequences=True))),
    case((4, 2), both_ways(rnn("gru", units=2, return_sequences=True), merge_mode="sum")),
    case(
        (4, 2),
        both_ways(rnn("gru", dropout=0.2, reset_after=False), merge_mode="mul"),
        layer("repeat_vector", n=3),
        both_ways(rnn("simple_rnn", units=2, return_sequences=True), merge_mode="ave"),
    ),
    case((5, 2), layer("masking"), dense(3, "tanh"), rnn("lstm", return_sequences=True)),
    case(
        (5, 2),
        layer("masking"),
        rnn("simple_rnn", return_sequences=True),
        rnn("gru", return_sequences=True, go_backwards=True),
        rnn("gru", reset_after=False),
    ),
    case(
        (5, 2),
        layer("masking", mask_value=-1.5),
        both_ways(rnn("lstm", units=2, return_sequences=True)),
        both_ways(rnn("gru", units=2, return_sequences=True), merge_mode="mul"),
        layer("flatten"),
    ),
    case(  # the same cell on two sequences
        (4, 2),
        rnn("lstm", name="code", units=2),
        layer("repeat_vector", n=4),
        layer("shared", layer="code", name="again"),
    ),
    case((3,), layer("repeat_vector", n=2)),
]

CASES = [
    case((5,), dense(4)),
    case((5,), dense(4, use_bias=False)),
    case((5,), dense(1)),
    case((6,), dense(8, "relu"), dense(7, "tanh", use_bias=False), dense(3)),
    *(case((5,), dense(6, name), dense(3)) for name in ACTIVATIONS),
    *(case((5,), dense(4, name)) for name in ACTIVATIONS),
    *(
        case((5,), dense(6), {"kind": "activation", "activation": name}, dense(3))
        for name in ACTIVATIONS
    ),
    case((2, 3), {"kind": "activation", "activation": "tanh"}),
    case((2, 3), {"kind": "activation", "activation": "softmax"}),
    case(
        (4,), {"kind": "dropout", "rate": 0.4}, dense(6), {"kind": "dropout", "rate": 0.5}, dense(3)
    ),
    case((4,), dense(5, "relu"), {"kind": "dropout", "rate": 0.0}, dense(2)),
    case((2, 3, 2), {"kind": "flatten"}, dense(4, "gelu"), dense(3)),
    case((2, 3), {"kind": "activation", "activation": "swish"}, {"kind": "flatten"}, dense(3)),
    case((4, 3), dense(5, "tanh"), dense(2)),
    case((12,), layer("reshape", target_shape=[2, -1]), dense(3, "relu"), layer("flatten")),
    case(
        (5,),
        dense(6, "tanh", name="a"),
        dense(6, "relu", name="b"),
        layer("add", inputs=["a", "b", "a"]),
        layer("multiply", inputs=["add_1", "b", "a"]),
        dense(3),
    ),
    case(
        (4, 3),
        dense(3, "tanh"),
        layer("concat", inputs=["dense_1", "input", "dense_1"]),
        layer("concat", inputs=["concat_1", "concat_1"], axis=1),
        dense(2),
    ),
    case(  # the same weights on both branches
        (6,),
        dense(5, "tanh", name="left", inputs=["input"]),
        dense(6, name="turned", inputs=["input"]),
        layer("shared", layer="left", name="right", inputs=["turned"]),
        layer("multiply", inputs=["left", "right"]),
        dense(2),
    ),
    case(  # a layer may stand before what feeds it
        (4,),
        layer("add", inputs=["input", "dense_1"]),
        dense(4, inputs=["input"], activation="tanh"),
        dense(3, inputs=["add_1"]),
    ),
    *(
        case((5,), dense(6, "relu", kernel_initializer=name), dense(3))
        for name in ("glorot_normal", "he_uniform", "he_normal")
    ),
    *RECURRENT,
]


def case_id(one):
    """Name a case by its layers."""
    spec, shape = one
    layers = (f"{layer['kind']}-{layer.get('activation', '')}" for layer in spec["layers"])
    return f"{shape}-" + "-".join(layers)


def draw(spec, shape, loss, rng, rows=4):
    """Draw inputs and targets that suit a network and a loss."""
    from chainrule.network import Network

    outputs = (rows, *Network(spec).output_shape)
    x = padded(spec, rng.standard_normal((rows, *shape)))
    if loss == "softmax_cross_entropy":
        return x, rng.integers(0, outputs[-1], outputs[:-1])
    if loss == "binary_cross_entropy":
        return x, rng.integers(0, 2, outputs).astype(float)
    return x, rng.standard_normal(outputs)


def padded(spec, x):
    """Pad some rows' last steps, and one step between, if the network starts with a masking."""
    first = spec["layers"][0]
    if first["kind"] == "masking":
        value = first.get("mask_value", 0.0)
        x[1::2, -2:] = value
        x[2::4, 0] = x[2::4, 2] = value
    return x


LOSS_NAMES = sorted(LOSSES)
