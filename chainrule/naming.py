"""One value is bare, several are {name: value}: the rule for inputs, outputs and all about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from chainrule.errors import ShapeError

__all__ = ["Values", "bare", "listed", "named", "unnamed"]

# One array, or where there are several inputs or outputs, {name: array}.
Values = Any


def bare(values: Sequence[Any], names: Collection[str]) -> Any:
    """Return the only value bare, several by name."""
    return values[0] if len(values) == 1 else dict(zip(names, values, strict=True))


def listed(values: Any, names: Collection[str]) -> list[Any]:
    """Return values in the order of their names; a bare one is that of the only name.

    Raises: ShapeError, if the names are other ones.
    """
    if len(names) == 1 and not isinstance(values, Mapping):
        return [values]
    return [*named(values, names).values()]


def named(values: Any, names: Collection[str]) -> dict[str, Any]:
    """Return values by name; a bare one is that of the only name.

    Raises: ShapeError, if the names are other ones.
    """
    if isinstance(values, Mapping):
        if set(values) != set(names):
            raise ShapeError(f"must have {[*names]}, got {[*values]}")
        return {name: values[name] for name in names}
    if len(names) > 1:
        raise ShapeError(f"must be a mapping with {[*names]}, got one value")
    return dict.fromkeys(names, values)


def unnamed(values: Mapping[str, Any]) -> Any:
    """Return the only value bare, several by name."""
    return next(iter(values.values())) if len(values) == 1 else values
