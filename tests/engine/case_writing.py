"""Short ways to write the networks of the case table."""

from __future__ import annotations


def dense(units, activation="linear", **more):
    return {"kind": "dense", "units": units, "activation": activation, **more}


def case(shape, *layers):
    return {"name": "case", "input": {"shape": list(shape)}, "layers": list(layers)}, tuple(shape)


def layer(kind, **fields):
    return {"kind": kind, **fields}
