"""Samples changed at random while they are learnt from: the draws hang on epoch and row alone.

Whichever shard a sample is in, and however often a run was resumed, its pixels are the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.spec import Document, parse
from chainrule.spec.augmentation import AugmentationSpec, FlipSpec, ShiftSpec
from chainrule.streams import uniforms

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from chainrule.network import Network
    from chainrule.spec.augmentation import NoiseSpec
    from chainrule.tape import Array

__all__ = ["Augmentation", "check_augmentation"]

_BLOCK = 1 << 16  # numbers that are drawn at once


class _Steps(Document):
    """The steps as a document."""

    augmentation: list[AugmentationSpec]


class Augmentation:
    """The steps of an augmentation, in order, for a network with one input.

    Raises: SpecError at ``augmentation``, or at the step that the inputs do not suit.
    """

    def __init__(self, net: Network, given: Sequence[Any], seed: int) -> None:
        documents = [one.render() if isinstance(one, Document) else one for one in given]
        self._steps = parse(_Steps, {"augmentation": documents}).augmentation
        check_augmentation(self._steps, net.input_shapes, net.vocabularies)
        self._seed = seed

    def render(self) -> list[dict[str, Any]]:
        """Return plain JSON with every default filled in."""
        return [step.render() for step in self._steps]

    def apply(self, x: Array, rows: Array, epoch: int) -> None:
        """Change a batch in place.  Shapes: x (batch, ...), rows (batch,) their numbers."""
        for number, step in enumerate(self._steps):
            if isinstance(step, FlipSpec):
                _flip(x, step, self._draw(rows, epoch, number, 2))
            elif isinstance(step, ShiftSpec):
                _shift(x, step, self._draw(rows, epoch, number, 2))
            else:
                self._add_noise(x, step, rows, epoch, number)

    def _draw(self, rows: Array, epoch: int, step: int, count: int) -> Array:
        return uniforms(self._seed, "augment", epoch, step, rows=rows, count=count)

    def _add_noise(self, x: Array, step: NoiseSpec, rows: Array, epoch: int, number: int) -> None:
        """Add noise, some rows at a time.  Source: Box and Muller (1958)."""
        flat = x.reshape(len(x), -1)
        width = flat.shape[1]
        at_once = max(1, _BLOCK // width)
        for start in range(0, len(x), at_once):
            some = slice(start, start + at_once)
            drawn = self._draw(rows[some], epoch, number, 2 * ((width + 1) // 2))
            half = drawn.shape[1] // 2
            radius = np.sqrt(-2.0 * np.log1p(-drawn[:, :half])) * step.stddev
            angle = 2.0 * math.pi * drawn[:, half:]
            noise = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
            flat[some] += noise[:, :width]


def check_augmentation(
    steps: Sequence[AugmentationSpec],
    shapes: Mapping[str, tuple[int, ...]],
    vocabularies: Collection[str] = (),
) -> None:
    """Raise SpecError at ``augmentation`` or its step, if inputs of these shapes do not suit it."""
    if steps and len(shapes) > 1:
        raise SpecError.at("augmentation", "is for a network with one input")
    for number, step in enumerate(steps):
        place = f"augmentation[{number}]"
        (shape,) = shapes.values()
        if step.kind == "noise":
            if vocabularies:
                raise SpecError.at(place, "noise makes other numbers of what an embedding takes")
            continue
        if len(shape) != 3:
            detail = f"{step.kind} is of images (height, width, channels), inputs have {shape}"
            raise SpecError.at(place, detail)
        if isinstance(step, ShiftSpec):
            for axis, size in zip(("height", "width"), shape, strict=False):
                if _pixels(getattr(step, axis), size) >= size:
                    raise SpecError.at(f"{place}.{axis}", f"must be < {size}, the image's {axis}")


def _flip(x: Array, step: FlipSpec, drawn: Array) -> None:
    across, over = drawn[:, 0] < step.horizontal, drawn[:, 1] < step.vertical
    x[across] = x[across][:, :, ::-1]
    x[over] = x[over][:, ::-1]


def _shift(x: Array, step: ShiftSpec, drawn: Array) -> None:
    sources, inside = [], []
    for axis, reach in enumerate((step.height, step.width)):
        size = x.shape[1 + axis]
        most = _pixels(reach, size)
        moves = np.floor(drawn[:, axis] * (2 * most + 1)).astype(np.intp) - most
        source = np.arange(size) - moves[:, None]
        inside.append((source >= 0) & (source < size))
        is_wrapped = step.fill_mode == "wrap"
        sources.append(source % size if is_wrapped else np.clip(source, 0, size - 1))
    numbers = np.arange(len(x))[:, None, None]
    x[...] = x[numbers, sources[0][:, :, None], sources[1][:, None, :]]
    if step.fill_mode == "constant":
        x[~(inside[0][:, :, None] & inside[1][:, None, :])] = step.fill_value


def _pixels(reach: float, size: int) -> int:
    return reach if isinstance(reach, int) else round(reach * size)
