"""The short form of an architecture: ``128 relu, dropout 0.2, 64 tanh``."""

from __future__ import annotations

from typing import Any

from chainrule.errors import SpecError
from chainrule.spec import ArchitectureSpec, nodes, parse

__all__ = ["architecture_of", "chain"]

PLAIN = {  # kinds whose fields all have defaults
    "avg_pool2d",
    "flatten",
    "global_avg_pool2d",
    "global_max_pool1d",
    "max_pool1d",
    "max_pool2d",
    "up_sampling2d",
}


def architecture_of(text: str) -> dict[str, Any]:
    """Return the architecture of a short form; the layer that fits the target is added at its end.

    Items are ``UNITS [ACTIVATION]``, ``dropout RATE``, and kinds without fields, as ``flatten`` and
    ``max_pool2d``; an ``auto`` at the end stands for the added layer.
    Raises: SpecError, at the item that is none of these.
    """
    items = [item.split() for item in text.split(",")] if text.strip() else []
    if items and items[-1] == ["auto"]:
        items.pop()
    hidden = [_layer(index, words) for index, words in enumerate(items)]
    document = {"layers": [*hidden, {"kind": "dense", "units": "auto"}]}
    parse(ArchitectureSpec, document)
    return document


def chain(architecture: dict[str, Any]) -> str:
    """Return a completed architecture in short: ``4-16-3, 131 parameters``."""
    walked = nodes(parse(ArchitectureSpec, architecture))
    shapes = [walked[0].input_shape, *(node.output_shape for node in walked if node.weights)]
    sizes = "-".join("x".join(map(str, shape)) for shape in shapes)
    return f"{sizes}, {sum(node.parameters for node in walked):,} parameters"


def _layer(index: int, words: list[str]) -> dict[str, Any]:
    match words:
        case [units] if units.isdecimal():
            return {"kind": "dense", "units": int(units)}
        case [units, activation] if units.isdecimal():
            return {"kind": "dense", "units": int(units), "activation": activation}
        case ["dropout", rate] if _is_number(rate):
            return {"kind": "dropout", "rate": float(rate)}
        case [kind] if kind in PLAIN:
            return {"kind": kind}
        case _:
            wanted = "must be 'UNITS [ACTIVATION]', 'dropout RATE', 'flatten' or, last, 'auto'"
            raise SpecError.at(f"layers[{index}]", f"{wanted}, got {' '.join(words)!r}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
