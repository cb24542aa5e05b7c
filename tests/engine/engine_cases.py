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
    x = rng.standard_normal((rows, *shape))
    return x, LOSSES[loss].draw(outputs, rng)


LOSS_NAMES = sorted(LOSSES)
# What every network is put through; the others meet a few networks only.
MAIN_LOSSES = ["binary_cross_entropy", "mean_squared_error", "softmax_cross_entropy"]
