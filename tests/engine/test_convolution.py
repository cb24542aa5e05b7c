"""Convolution and pooling: TensorFlow's padding in numbers, refusals, batches of many blocks."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import SpecError
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, nodes, parse
from tests.engine.case_writing import case, layer


def network(shape, *layers, dtype="float64"):
    return Network(case(shape, *layers)[0], dtype=dtype)


def run(shape, one, x, kernel=None):
    """Return what a layer makes of a single channel, the axes of batch and channel left out."""
    net = network((*shape, 1), one)
    for view in net.parameters.values():
        view[...] = np.reshape(kernel, view.shape)
    return net.predict(np.reshape(x, (1, *shape, 1)))[0, ..., 0].tolist()


def conv(kind, size, **more):
    return layer(kind, filters=1, kernel_size=size, use_bias=False, **more)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        # One cell of padding on either side: 0 1 2 | 2 3 4 | 4 5 0 times 1, 10, 100.
        ([1, 2, 3, 4, 5], [210, 432, 54]),
        # One cell in all, and that at the end: 1 2 3 | 3 4 0.
        ([1, 2, 3, 4], [321, 43]),
    ],
)
def test_same_padding_of_stride_two_is_tensorflows(x, y):
    one = conv("conv1d", 3, padding="same", strides=2)
    assert run((len(x),), one, x, [1, 10, 100]) == y


def test_same_padding_of_images_is_at_the_end_first():
    one = conv("conv2d", 3, padding="same", strides=2)
    assert run((4, 4), one, np.ones(16), np.ones(9)) == [[9, 6], [6, 4]]
    wide = layer("depthwise_conv2d", kernel_size=3, padding="same", strides=2, use_bias=False)
    assert run((4, 4), wide, np.ones(16), np.ones(9)) == [[9, 6], [6, 4]]


def test_causal_padding_shows_no_step_a_later_one():
    assert run((3,), conv("conv1d", 2, padding="causal"), [1, 2, 3], [1, 10]) == [10, 21, 32]


@pytest.mark.parametrize(
    ("fields", "kernel", "y"),
    [
        ({}, [1, 10, 100], [1, 10, 102, 20, 200]),
        ({"padding": "same"}, [1, 10, 100], [1, 10, 102, 20]),
        ({"padding": "same"}, [1, 10, 100, 1000], [10, 102, 1020, 200]),
        ({}, [1], [1, 0, 2, 0]),  # no kernel reaches the cells between
    ],
)
def test_a_transposed_convolution_has_tensorflows_size(fields, kernel, y):
    one = conv("conv2d_transpose", [1, len(kernel)], strides=[1, 2], **fields)
    assert run((1, 2), one, [1, 2], kernel) == [y]


def test_padding_does_not_count_in_a_mean():
    one = layer("avg_pool2d", padding="same")
    assert run((3, 3), one, np.arange(1, 10)) == [[3, 4.5], [7.5, 9]]


def test_padding_is_never_the_maximum():
    one = layer("max_pool1d", padding="same")
    assert run((3,), one, [-5, -3, -4]) == [-3, -4]


@pytest.mark.parametrize("kind", ["max_pool1d", "global_max_pool1d"])
def test_the_first_of_equal_maxima_gets_the_gradient(kind):
    net = network((4, 1), layer(kind))
    tape = net.tape()
    tape.begin(0)
    y, backward = net.forward(np.array([2.0, 2, 1, 1]).reshape(1, 4, 1), tape, inputs=True)
    expected = [1, 0, 1, 0] if kind == "max_pool1d" else [1, 0, 0, 0]
    assert backward(np.ones_like(y)).reshape(-1).tolist() == expected


def test_bilinear_cells_lie_between_the_centres():
    one = layer("up_sampling2d", size=[1, 2], interpolation="bilinear")
    assert run((1, 2), one, [0, 1]) == [[0, 0.25, 0.75, 1]]


def test_parameters_have_keras_layouts():
    net = network(
        (8, 8, 4),
        layer("conv2d", filters=6, kernel_size=[2, 3], groups=2, padding="same"),
        layer("depthwise_conv2d", kernel_size=3, depth_multiplier=2),
        layer("separable_conv2d", filters=5, kernel_size=[3, 1], depth_multiplier=2),
        layer("conv2d_transpose", filters=7, kernel_size=[3, 2]),
    )
    assert {name: view.shape for name, view in net.parameters.items()} == {
        "conv2d_1.kernel": (2, 3, 2, 6),
        "conv2d_1.bias": (6,),
        "depthwise_conv2d_1.kernel": (3, 3, 6, 2),
        "depthwise_conv2d_1.bias": (12,),
        "separable_conv2d_1.depthwise_kernel": (3, 1, 12, 2),
        "separable_conv2d_1.pointwise_kernel": (1, 1, 24, 5),
        "separable_conv2d_1.bias": (5,),
        "conv2d_transpose_1.kernel": (3, 2, 7, 5),
        "conv2d_transpose_1.bias": (7,),
    }


def test_operations_are_two_for_each_weight_and_window():
    (node,) = nodes(
        parse(ArchitectureSpec, case((8, 8, 4), layer("conv2d", filters=6, kernel_size=3))[0])
    )
    assert node.spec.flops(node.input_shape) == 2 * 6 * 6 * (3 * 3 * 4 * 6) + 6 * 6 * 6


IMAGES = (6, 5, 4)


@pytest.mark.parametrize(
    ("shape", "one", "field", "detail"),
    [
        ((6,), conv("conv1d", 2), "", "wants inputs of shape (steps, channels), got (6,)"),
        ((6, 5), layer("max_pool2d"), "", "(height, width, channels), got (6, 5)"),
        ((6, 5), conv("conv2d_transpose", 2), "", "(height, width, channels), got (6, 5)"),
        (IMAGES, layer("global_max_pool1d"), "", "(steps, channels), got (6, 5, 4)"),
        (
            IMAGES,
            conv("conv2d", [2, 6]),
            ".kernel_size",
            "of 6 does not fit the input's 5",
        ),
        (
            IMAGES,
            conv("conv2d", 3, dilation_rate=3),
            ".kernel_size",
            "of 7 does not fit the input's 6",
        ),
        (IMAGES, layer("avg_pool2d", pool_size=6), ".pool_size", "of 6 does not fit the input's 5"),
        (
            IMAGES,
            conv("separable_conv2d", 2, strides=[1, 2], dilation_rate=[3, 1]),
            ".dilation_rate",
            "above 1 wants strides of 1, got 3 and strides of 2",
        ),
        (
            IMAGES,
            conv("conv2d", 2, groups=3),
            ".groups",
            "must divide the 4 channels of the input, got 3",
        ),
        (IMAGES, conv("conv2d", 2, groups=2), ".groups", "must divide the 1 filters, got 2"),
        (
            IMAGES,
            conv("conv2d", 2, kernel_initializer="identity"),
            "",
            "kernel cannot start as identity: that wants two axes, got (2, 2, 4, 1)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_its_field(shape, one, field, detail):
    with pytest.raises(SpecError) as caught:
        nodes(parse(ArchitectureSpec, case(shape, one)[0]))
    (problem,) = caught.value.problems
    assert problem.path == f"layers[0]{field}"
    assert detail in problem.detail


@pytest.mark.parametrize(
    ("fields", "path", "detail"),
    [
        ({"kernel_size": 0}, "kernel_size", "must be >= 1, got 0"),
        ({"kernel_size": [3, 3, 3]}, "kernel_size", "at most 2 items"),
        ({"kernel_size": [3, 2000]}, "kernel_size[1]", "must be <= 1024, got 2000"),
        ({"kernel_size": 3, "padding": "causal"}, "padding", "must be one of 'valid' or 'same'"),
        ({"kernel_size": 3, "strides": 1.5}, "strides", "must be a valid integer"),
    ],
)
def test_sizes_are_whole_numbers_within_bounds(fields, path, detail):
    with pytest.raises(SpecError) as caught:
        parse(ArchitectureSpec, case(IMAGES, layer("conv2d", filters=1, **fields))[0])
    found = {problem.path: problem.detail for problem in caught.value.problems}
    assert detail in found[f"layers[0].{path}"]


MANY_BLOCKS = [
    layer("conv2d", filters=4, kernel_size=3, groups=2, padding="same"),
    layer("conv2d", filters=3, kernel_size=3, activation="tanh"),
    layer("separable_conv2d", filters=3, kernel_size=3, depth_multiplier=2, padding="same"),
    layer("conv2d_transpose", filters=2, kernel_size=3, strides=2, padding="same"),
    layer("max_pool2d"),
    layer("avg_pool2d", pool_size=3, strides=2, padding="same"),
]


@pytest.mark.parametrize("one", MANY_BLOCKS, ids=[one["kind"] for one in MANY_BLOCKS])
def test_a_batch_of_many_blocks_is_its_rows_one_by_one(one):
    rng = np.random.default_rng(3)
    net = network((24, 24, 4), one)
    x = rng.standard_normal((75, 24, 24, 4))
    dy = rng.standard_normal((len(x), *net.output_shape))
    whole, single = (
        gradients(net, x, dy),
        [gradients(net, x[i : i + 1], dy[i : i + 1]) for i in range(len(x))],
    )
    for place in (0, 1):
        joined = np.concatenate([one[place] for one in single])
        np.testing.assert_allclose(whole[place], joined, rtol=1e-11, atol=1e-11)
    for name in net.parameters:
        summed = sum(one[2][name] for one in single)
        np.testing.assert_allclose(whole[2][name], summed, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("one", MANY_BLOCKS, ids=[one["kind"] for one in MANY_BLOCKS])
def test_no_rows_give_no_rows(one):
    net = network((24, 24, 4), one)
    assert net.predict(np.zeros((0, 24, 24, 4))).shape == (0, *net.output_shape)


def gradients(net, x, dy):
    """Return the output, the gradient in x, and those in the parameters, given the one in y."""
    tape = net.tape()
    tape.begin(0)
    y, backward = net.forward(x, tape, inputs=True)
    dx = backward(dy)
    return y, dx, {name: tape.gradient(p).view for name, p in net.parameters.items()}
