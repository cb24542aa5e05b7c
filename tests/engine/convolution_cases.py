"""The cases of convolutions and pooling: each kind, each field, small images."""

from __future__ import annotations

from tests.engine.case_writing import case, dense, layer


def conv(kind, filters, size, **more):
    return layer(kind, filters=filters, kernel_size=size, **more)


FLAT = layer("flatten")

CASES = [
    case((7, 2), conv("conv1d", 3, 3, activation="tanh"), conv("conv1d", 2, [2])),
    case((8, 3), conv("conv1d", 4, 3, padding="same", strides=2, use_bias=False), FLAT, dense(2)),
    case((8, 4), conv("conv1d", 4, 2, padding="causal", dilation_rate=2, groups=2)),
    case((9, 2), conv("conv1d", 2, 3, padding="causal", strides=2, activation="softmax")),
    case((5, 4, 2), conv("conv2d", 3, 3, activation="relu"), FLAT, dense(2)),
    case((5, 4, 1), conv("conv2d", 2, [2, 3], padding="same", activation="gelu")),
    case(
        (6, 7, 2),
        conv("conv2d", 3, 3, padding="same", strides=2, activation="tanh"),
        conv("conv2d", 2, [3, 2], padding="same", strides=[1, 3]),
    ),
    case((6, 6, 2), conv("conv2d", 2, 1, activation="swish"), conv("conv2d", 2, 1, strides=4)),
    case((7, 6, 2), conv("conv2d", 2, 3, dilation_rate=[2, 1]), conv("conv2d", 1, 2)),
    case((5, 5, 2), conv("conv2d", 2, 3, dilation_rate=3, padding="same", use_bias=False)),
    case(
        (5, 4, 4),
        conv("conv2d", 6, 2, groups=2, padding="same", activation="elu"),
        conv("conv2d", 6, 1, groups=3, kernel_initializer="he_normal"),
    ),
    case(  # the same kernel twice
        (4, 4, 2),
        conv("conv2d", 2, 3, padding="same", activation="tanh", name="turn"),
        layer("shared", layer="turn"),
        conv("conv2d", 2, 1, name="mix"),
        layer("shared", layer="mix"),
    ),
]
