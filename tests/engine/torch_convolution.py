"""Convolution and pooling in PyTorch, with TensorFlow's ``same`` padding made explicit."""

from __future__ import annotations

import math

import torch

F = torch.nn.functional


def pair(value):
    return tuple(value) if isinstance(value, list) and len(value) == 2 else (value, value)


def single(value):
    return value[0] if isinstance(value, list) else value


def same(size, kernel, stride, dilation):
    """Return TensorFlow's padding before and after (the documentation of ``tf.nn``)."""
    total = (math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size
    total = max(total, 0)
    return total // 2, total - total // 2


def padding_of(spec, sizes, kernels, strides, dilations):
    """Return the padding of each axis, first to last."""
    if spec.padding == "valid":
        return [(0, 0)] * len(sizes)
    if spec.padding == "causal":
        return [((kernels[0] - 1) * dilations[0], 0)]
    return [same(*numbers) for numbers in zip(sizes, kernels, strides, dilations, strict=True)]


def pad(x, before_after, value=0.0):
    """Pad the axes after batch and channels; F.pad counts from the last."""
    return F.pad(x, [n for axis in reversed(before_after) for n in axis], value=value)


def first(x):
    """Put the channels behind the batch, as PyTorch has them."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def finished(net, node, y):
    """Add the bias and activate; channels last again."""
    from tests.engine.torch_engine import ACTIVATIONS

    own = net.own(node)
    y = last(y)
    y = y + own["bias"] if "bias" in own else y
    return ACTIVATIONS[node.spec.activation](y)


def conv1d(net, node, x):
    spec, x = node.spec, first(x)
    numbers = [single(n) for n in (spec.kernel_size, spec.strides, spec.dilation_rate)]
    kernel, stride, dilation = numbers
    x = pad(x, padding_of(spec, x.shape[2:], [kernel], [stride], [dilation]))
    weight = net.own(node)["kernel"].permute(2, 1, 0).contiguous()
    return finished(net, node, F.conv1d(x, weight, None, stride, 0, dilation, groups=spec.groups))


def conv2d(net, node, x):
    weight = net.own(node)["kernel"].permute(3, 2, 0, 1).contiguous()
    return finished(net, node, windows2d(node.spec, first(x), weight, node.spec.groups))


def windows2d(spec, x, weight, groups):
    numbers = [pair(n) for n in (spec.kernel_size, spec.strides, spec.dilation_rate)]
    x = pad(x, padding_of(spec, x.shape[2:], *numbers))
    return F.conv2d(x, weight, None, numbers[1], 0, numbers[2], groups)


def depthwise(spec, x, kernel):
    """Convolve each channel by itself: groups of one channel, their kernels side by side."""
    weight = kernel.permute(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    return windows2d(spec, x, weight.contiguous(), groups=x.shape[1])


def depthwise_conv2d(net, node, x):
    return finished(net, node, depthwise(node.spec, first(x), net.own(node)["kernel"]))


def separable_conv2d(net, node, x):
    own = net.own(node)
    spread = depthwise(node.spec, first(x), own["depthwise_kernel"])
    return finished(
        net, node, F.conv2d(spread, own["pointwise_kernel"].permute(3, 2, 0, 1).contiguous())
    )


def conv2d_transpose(net, node, x):
    """Make every window's whole kernel, then cut to TensorFlow's size; zeros where none reaches."""
    spec, kernel = node.spec, net.own(node)["kernel"].permute(3, 2, 0, 1).contiguous()
    size, stride, dilation = map(pair, (spec.kernel_size, spec.strides, spec.dilation_rate))
    y = F.conv_transpose2d(first(x), kernel, None, stride, dilation=dilation)
    for axis, cells in enumerate(x.shape[1:3]):
        extent = (size[axis] - 1) * dilation[axis] + 1
        whole = cells * stride[axis]
        if spec.padding == "valid":
            start, whole = 0, whole + max(extent - stride[axis], 0)
        else:
            start = max(extent - stride[axis], 0) // 2
        missing = max(start + whole - y.shape[2 + axis], 0)
        edges = [(0, 0), (0, 0)]
        edges[axis] = (0, missing)
        y = pad(y, edges).narrow(2 + axis, start, whole)
    return finished(net, node, y)


def pool_numbers(spec, sized):
    size = sized(spec.pool_size)
    return size, size if spec.strides is None else sized(spec.strides)


def max_pool1d(net, node, x):
    size, stride = pool_numbers(node.spec, single)
    edges = padding_of(node.spec, x.shape[1:2], [size], [stride], [1])
    return last(F.max_pool1d(pad(first(x), edges, -math.inf), size, stride))


def max_pool2d(net, node, x):
    size, stride = pool_numbers(node.spec, pair)
    edges = padding_of(node.spec, x.shape[1:3], size, stride, (1, 1))
    return last(F.max_pool2d(pad(first(x), edges, -math.inf), size, stride))


def avg_pool2d(net, node, x):
    """The mean over padded windows, divided by the share of each that is real."""
    size, stride = pool_numbers(node.spec, pair)
    edges = padding_of(node.spec, x.shape[1:3], size, stride, (1, 1))
    sums = F.avg_pool2d(pad(first(x), edges), size, stride)
    return last(sums / F.avg_pool2d(pad(torch.ones_like(first(x)), edges), size, stride))


def global_avg_pool2d(net, node, x):
    return x.mean((1, 2), keepdim=node.spec.keepdims)


def global_max_pool1d(net, node, x):
    return x.max(1, keepdim=node.spec.keepdims).values


def up_sampling2d(net, node, x):
    settings = {"nearest": {}, "bilinear": {"align_corners": False}}[node.spec.interpolation]
    sizes = [float(n) for n in pair(node.spec.size)]
    return last(
        F.interpolate(first(x), scale_factor=sizes, mode=node.spec.interpolation, **settings)
    )


KINDS = {
    "max_pool1d": max_pool1d,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "global_avg_pool2d": global_avg_pool2d,
    "global_max_pool1d": global_max_pool1d,
    "up_sampling2d": up_sampling2d,
    "conv1d": conv1d,
    "conv2d": conv2d,
    "depthwise_conv2d": depthwise_conv2d,
    "separable_conv2d": separable_conv2d,
    "conv2d_transpose": conv2d_transpose,
}
