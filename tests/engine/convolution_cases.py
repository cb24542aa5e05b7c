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
    case((5, 4, 2), layer("depthwise_conv2d", kernel_size=3, activation="relu"), FLAT, dense(2)),
    case(
        (5, 6, 2),
        layer("depthwise_conv2d", kernel_size=[3, 2], padding="same", depth_multiplier=2),
        layer("depthwise_conv2d", kernel_size=3, padding="same", strides=[2, 3], use_bias=False),
        layer("depthwise_conv2d", kernel_size=2, padding="same", dilation_rate=2),
    ),
    case(
        (5, 6, 2),
        conv("separable_conv2d", 3, 3, padding="same", activation="swish"),
        conv("separable_conv2d", 2, 2, strides=2, depth_multiplier=3, activation="tanh"),
    ),
    case((6, 5, 1), conv("separable_conv2d", 2, 2, dilation_rate=[2, 3], use_bias=False)),
    case(  # the same kernels twice
        (4, 4, 2),
        conv("separable_conv2d", 2, 2, padding="same", name="turn"),
        layer("shared", layer="turn"),
        layer("depthwise_conv2d", kernel_size=2, padding="same", name="mix"),
        layer("shared", layer="mix"),
    ),
    case((3, 4, 2), conv("conv2d_transpose", 3, 3, activation="relu"), FLAT, dense(2)),
    case(
        (3, 4, 2),
        conv("conv2d_transpose", 3, [3, 2], strides=2, padding="same", activation="gelu"),
        conv("conv2d_transpose", 2, 3, strides=[1, 2], use_bias=False),
    ),
    case((3, 2, 2), conv("conv2d_transpose", 2, 2, strides=3), conv("conv2d_transpose", 1, 1)),
    case((3, 2, 2), conv("conv2d_transpose", 2, 1, strides=[2, 3], padding="same")),
    case((4, 5, 2), conv("conv2d_transpose", 2, 3, dilation_rate=2, padding="same")),
    case(
        (3, 3, 2),
        conv("conv2d_transpose", 2, 2, dilation_rate=[1, 2], name="grow"),
        conv("conv2d", 2, [2, 3], activation="tanh"),
        layer("shared", layer="grow"),
    ),
    case((7, 3), dense(3), layer("max_pool1d")),
    case((7, 3), dense(3), layer("max_pool1d", pool_size=3, strides=2, padding="same")),
    case((5, 6, 2), dense(2), layer("max_pool2d"), FLAT, dense(2)),
    case(
        (6, 5, 2),
        dense(2),
        layer("max_pool2d", pool_size=[3, 2], strides=1, padding="same"),
        layer("max_pool2d", pool_size=3, strides=[2, 3]),
    ),
    case((3, 4, 1), dense(1), layer("max_pool2d", pool_size=17, strides=1, padding="same")),
    case((5, 6, 2), dense(2), layer("avg_pool2d"), FLAT, dense(2)),
    case(
        (6, 5, 2),
        dense(2),
        layer("avg_pool2d", pool_size=[3, 2], strides=2, padding="same"),
        layer("avg_pool2d", pool_size=[2, 3], strides=1),
    ),
    case((3, 4, 5), dense(4, "tanh"), layer("global_avg_pool2d"), dense(2)),
    case((3, 4, 2), layer("global_avg_pool2d", keepdims=True)),
    case((6, 3), dense(4), layer("global_max_pool1d"), dense(2)),
    case((6, 3), dense(4), layer("global_max_pool1d", keepdims=True)),
    case((2, 3, 2), dense(2), layer("up_sampling2d"), layer("up_sampling2d", size=[1, 3])),
    case(
        (2, 3, 2),
        dense(2),
        layer("up_sampling2d", interpolation="bilinear"),
        layer("up_sampling2d", size=[3, 1], interpolation="bilinear"),
    ),
]
