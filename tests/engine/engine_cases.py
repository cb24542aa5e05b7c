"""The one table of networks that every engine test of a kind runs through: (spec, input shape)."""

from __future__ import annotations

from chainrule.losses import LOSSES
from chainrule.spec.layers import ACTIVATIONS
from tests.engine import convolution_cases
from tests.engine.case_writing import case, dense, layer

__all__ = ["CASES", "LOSS_NAMES", "case", "case_id", "dense", "draw", "layer"]


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


def norm(kind, **fields):
    """Return a layer that normalises and whose tensors do not start at 0 and 1."""
    starts = {"gamma_initializer": uniform(0.5, 1.5), "beta_initializer": uniform(-0.5, 0.5)}
    if kind == "batch_norm":
        starts["moving_mean_initializer"] = uniform(-0.5, 0.5)
        starts["moving_variance_initializer"] = uniform(0.5, 1.5)
    return layer(kind, **starts, **fields)


def embedding(input_dim, output_dim, **fields):
    return layer("embedding", input_dim=input_dim, output_dim=output_dim, **fields)


def attention(num_heads, key_dim, **fields):
    """Return a layer of attention whose biases do not start at 0."""
    if fields.get("use_bias", True):
        fields["bias_initializer"] = uniform(-0.5, 0.5)
    return layer("multi_head_attention", num_heads=num_heads, key_dim=key_dim, **fields)


def uniform(low, high):
    return {"kind": "random_uniform", "minval": low, "maxval": high}


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
    case((5,), dense(6, "tanh", use_bias=False), norm("batch_norm", momentum=0.6), dense(3)),
    case((5,), norm("batch_norm", scale=False), dense(3, "tanh"), norm("batch_norm", epsilon=0.1)),
    case((2, 3, 2), norm("batch_norm", center=False), layer("flatten"), dense(2)),
    case((5,), layer("batch_norm", scale=False, center=False), dense(3)),
    case((5,), dense(6, "tanh"), norm("layer_norm"), dense(3)),
    case((3, 4), norm("layer_norm", epsilon=0.1, scale=False), dense(2)),
    case((2, 3, 2), norm("layer_norm", axis=[-2, -1], center=False), dense(2)),
    case((2, 3), norm("layer_norm", axis=[1, 2]), layer("layer_norm", scale=False, center=False)),
    case((4,), embedding(6, 3), layer("flatten"), dense(2)),
    case((2, 6), layer("flatten"), layer("reshape", target_shape=[3, 4]), embedding(5, 2)),
    case(  # row 0 counts in no moment: large enough to be tame
        (4,),
        embedding(3, 3, mask_zero=True, embeddings_initializer=uniform(-1.0, 1.0)),
        norm("batch_norm"),
        dense(2),
    ),
    case(  # one table, used twice
        (4,),
        embedding(6, 3, name="table"),
        dense(3, "tanh"),
        layer("shared", layer="table", inputs=["input"]),
        layer("multiply", inputs=["dense_1", "shared_1"]),
    ),
    case((4, 3), dense(5), layer("positional_embedding"), dense(2, "tanh")),
    case((4,), embedding(5, 3), layer("positional_embedding", initializer="he_normal")),
    case((4, 3), attention(2, 3), dense(2, "tanh")),
    case((4, 3), attention(2, 2, value_dim=3, use_bias=False, use_causal_mask=True)),
    case((4, 3), dense(4, "tanh"), attention(1, 3, dropout=0.4), dense(2)),
    case(
        (4, 3),
        dense(2, "tanh", name="value"),
        attention(2, 3, inputs=["input", "value"]),
        layer("layer_norm", axis=[1, 2]),
    ),
    case(  # another sequence is looked at
        (12,),
        layer("reshape", target_shape=[4, 3], name="query"),
        layer("reshape", target_shape=[6, 2], inputs=["input"]),
        dense(3, "tanh", name="key"),
        dense(5, "tanh", name="value", inputs=["reshape_2"]),
        attention(2, 2, value_dim=1, inputs=["query", "value", "key"]),
    ),
    case(
        (4, 3),
        attention(2, 2),
        layer("shared", layer="multi_head_attention_1", inputs=["input"]),
        layer("multiply", inputs=["multi_head_attention_1", "shared_1"]),
    ),
    case(
        (4,),
        embedding(3, 2, mask_zero=True, embeddings_initializer=uniform(-1.0, 1.0)),
        attention(2, 3, use_causal_mask=True),
        layer("add", inputs=["embedding_1", "multi_head_attention_1"]),
        layer("layer_norm"),
    ),
    *(
        case((5,), dense(6, "relu", kernel_initializer=name), dense(3))
        for name in ("glorot_normal", "he_uniform", "he_normal")
    ),
    *RECURRENT,
]


CASES += convolution_cases.CASES


def case_id(one):
    """Name a case by its layers."""
    spec, shape = one
    layers = (f"{layer['kind']}-{layer.get('activation', '')}" for layer in spec["layers"])
    return f"{shape}-" + "-".join(layers)


def draw(spec, shape, loss, rng, rows=4):
    """Draw inputs and targets that suit a network and a loss."""
    from chainrule.network import Network

    net = Network(spec)
    x = padded(spec, rng.standard_normal((rows, *shape)))
    for size in net.vocabularies.values():
        x = rng.integers(0, size, x.shape).astype(float)
    return x, LOSSES[loss].draw((rows, *net.output_shape), rng)


def padded(spec, x):
    """Pad some rows' last steps, and one step between, if the network starts with a masking."""
    first = spec["layers"][0]
    if first["kind"] == "masking":
        value = first.get("mask_value", 0.0)
        x[1::2, -2:] = value
        x[2::4, 0] = x[2::4, 2] = value
    return x


LOSS_NAMES = sorted(LOSSES)
# What every network is put through; the others meet a few networks only.
MAIN_LOSSES = ["binary_cross_entropy", "mean_squared_error", "softmax_cross_entropy"]
