"""Arguments for the compiled kernels of sequences, of any number of units or of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.kernels import REFERENCE
from tests.engine.native_cases import SINGLE, Case, normal

STEPS, SOME = 3, 5
MANY_UNITS = 300  # more than a product takes of its depth at once, and no multiple of a panel
BLOCKS = {"simple_rnn": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Kind:
    """What a layer is like; ``wide`` is the axis that has the size, "units" or "batch"."""

    name: str
    wide: str = "units"
    activation: str = "tanh"
    gate: str = "sigmoid"
    masked: bool = False
    dropped: bool = False
    bias: bool = True
    reset_after: bool = True
    last: bool = False

    def __str__(self) -> str:
        told = (name for name in ("masked", "dropped", "bias", "reset_after", "last"))
        flags = (name for name in told if getattr(self, name))
        return " ".join((self.wide, self.activation, self.gate, *flags))

    @property
    def functions(self) -> tuple[Any, ...]:
        return {
            "simple_rnn": (self.activation,),
            "lstm": (self.activation, self.gate),
            "gru": (self.activation, self.gate, self.reset_after),
        }[self.name]

    def draw(self, rng, size, dtype):
        """Draw what the forward kernel takes."""
        units, batch = (size, SOME) if self.wide == "units" else (SOME, size)
        width, states = BLOCKS[self.name] * units, 2 if self.name == "lstm" else 1
        z = normal(rng, STEPS, batch, width, dtype=dtype)
        bias = normal(rng, width, dtype=dtype) if self.bias else None
        scale = np.float32(1 / (3 * units**0.5))  # states do not grow from step to step
        kernel = normal(rng, units, width, dtype=dtype) * scale
        h = np.zeros((states, STEPS + 1, batch, units), dtype)
        h[:, 0] = normal(rng, states, batch, units, dtype=dtype)
        kept = 2 * rng.integers(0, 2, (batch, units)).astype(dtype) if self.dropped else None
        seen = np.zeros((STEPS, batch, units), dtype) if self.dropped else None
        padded = rng.random((STEPS, batch, 1)) < 0.3 if self.masked else None
        in_place = {self.activation, self.gate}.isdisjoint({"gelu", "swish"})
        gates = z if in_place else np.zeros_like(z)
        steps = np.zeros((STEPS, batch, units), dtype)
        panels = np.zeros(width * (units + 31), dtype)
        if self.name == "simple_rnn":
            return [z, bias, kernel, kept, padded, *self.functions, seen, h[0], panels]
        if self.name == "lstm":
            return [z, bias, kernel, kept, padded, *self.functions, seen, gates, h, steps, panels]
        inner = normal(rng, units, dtype=dtype) if self.bias and self.reset_after else None
        common = [z, bias, inner, kernel, kept, padded, *self.functions, seen, gates, h[0]]
        return [*common, steps, panels]

    def draw_back(self, rng, size, dtype):
        """Draw what the backward kernel takes: what the reference left, forward."""
        arguments = self.draw(rng, size, dtype)
        with np.errstate(all="ignore"):
            REFERENCE[self.name](*arguments)
        z, panels = arguments[0], arguments[-1]
        kernel, kept, padded = arguments[2 + (self.name == "gru") :][:3]
        known = arguments[-5:-1] if self.name == "gru" else arguments[5 + len(self.functions) : -1]
        if self.name == "gru":
            seen, gates, h, inner = known
            known = [h[:-1] if seen is None else seen, gates, h, inner]
        else:
            known = known[1:]  # without what it saw
        shown = rng.random((STEPS, z.shape[1], 1)) < 0.7 if self.masked else None
        batch, units = z.shape[1], kernel.shape[0]
        dy = normal(rng, *([batch, units] if self.last else [batch, STEPS, units]), dtype=dtype)
        dy = dy if self.last else dy.transpose(1, 0, 2)
        states = (2,) if self.name == "lstm" else ()
        d, work = np.zeros((*states, batch, units), dtype), np.zeros((batch, units), dtype)
        common = [z, kernel, kept, padded, shown, *self.functions, *known, dy, d]
        written = [np.zeros_like(z)]
        if self.name == "gru":
            written.append(np.zeros((STEPS, batch, units), dtype))
        return [*common, *written, work, panels]


def cases(kind):
    """Return the cases of both ways, whose scratch memory comes last."""

    def back(rng, size, dtype):
        return kind.draw_back(rng, size, dtype), {}

    def forth(rng, size, dtype):
        return kind.draw(rng, size, dtype), {}

    n = len(forth(np.random.default_rng(0), 1, "float32")[0])
    n_back = len(back(np.random.default_rng(0), 1, "float32")[0])
    d = n_back - 4 - (kind.name == "gru")
    # Sums of 1,000 products in another order: far below n u times the sum of their sizes.
    more: dict[str, Any] = {"least": 1, "variety": str(kind), "atol": 1e-5}
    more["most"] = MANY_UNITS if kind.wide == "units" else 1000
    return [
        Case(kind.name, forth, SINGLE, scratch=(n - 1,), **more),
        Case(f"{kind.name}_backward", back, SINGLE, scratch=(d, n_back - 2, n_back - 1), **more),
    ]


def global_max(rng, size, dtype):
    """Draw sequences in which many numbers are equal, and some channels have NaN."""
    x = rng.integers(0, 5, (SOME, 20, size)).astype(dtype)
    x[0, 3, ::4] = np.nan
    return [x, np.empty((SOME, size), dtype)], {}


def global_max_backward(rng, size, dtype):
    (x, y), _ = global_max(rng, size, dtype)
    REFERENCE["global_max"](x, y)
    dy = normal(rng, SOME, size, dtype=dtype)
    return [x, y, dy, np.empty_like(x), np.empty(x.shape, bool)], {}


@dataclass(frozen=True)
class Looks:
    """What an attention is like; ``wide`` is the axis that has the size."""

    wide: str
    masked: bool = False
    dropped: bool = False

    def __str__(self) -> str:
        return self.wide + " masked" * self.masked + " dropped" * self.dropped

    def draw(self, rng, size, dtype):
        """Draw what the forward kernel takes."""
        sizes = {"steps": 5, "seen": 4, "width": 3, "value width": 6, self.wide: size}
        batch, heads, (steps, seen, *widths) = 2, 3, sizes.values()
        q = normal(rng, batch, steps, heads, widths[0], dtype=dtype)
        k, v = (normal(rng, batch, seen, heads, width, dtype=dtype) for width in widths)
        padded, kept = None, None
        if self.masked:
            padded = rng.random((batch, seen)) < 0.3
            padded[1] = True  # all of a row
        if self.dropped:
            kept = 2 * rng.integers(0, 2, (batch, heads, steps, seen)).astype(dtype)
        shares, work = (np.zeros((n, heads, steps, seen), dtype) for n in (batch, 2))
        mixed = np.zeros((batch, steps, heads, widths[1]), dtype)
        given = q, k, v, padded, self.masked, kept, widths[0] ** -0.5
        return [*given, shares, work, mixed], {}

    def draw_back(self, rng, size, dtype):
        """Draw what the backward kernel takes: what the reference left, forward."""
        arguments, _ = self.draw(rng, size, dtype)
        REFERENCE["attend"](*arguments)
        q, k, v, _, _, kept, scale, shares, work, mixed = arguments
        dmixed = normal(rng, *mixed.shape, dtype=dtype)
        slopes = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        return [q, k, v, kept, scale, shares, dmixed, work, *slopes], {}


LOOKS = [
    *(Looks(wide) for wide in ("steps", "seen", "width", "value width")),
    Looks("steps", masked=True),
    Looks("seen", masked=True, dropped=True),
]
KINDS = [
    kind
    for name in BLOCKS
    for kind in (
        Kind(name),
        Kind(name, "batch", last=True),
        Kind(name, "batch", masked=True, dropped=True, reset_after=False),
        Kind(name, "units", "swish", "softplus", bias=False, dropped=True),
        Kind(name, "batch", "relu", "gelu", masked=True, last=True),
        Kind(name, "units", "elu", bias=False, reset_after=False),
    )
]
CASES = [
    *(case for kind in KINDS for case in cases(kind)),
    *(
        case
        for looks in LOOKS
        for case in (
            Case("attend", looks.draw, SINGLE, 1, variety=str(looks), scratch=(8,), atol=1e-5),
            Case(
                "attend_backward",
                looks.draw_back,
                SINGLE,
                1,
                variety=str(looks),
                scratch=(7,),
                atol=1e-4,
            ),
        )
    ),
    Case("global_max", global_max, least=1),
    Case("global_max_backward", global_max_backward, least=1, scratch=(4,)),
]
