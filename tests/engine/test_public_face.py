"""What ``import chainrule`` gives, and what it must not bring along."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import chainrule
from chainrule import gradcheck
from chainrule.layers import LAYERS, Dense

SERVICE_SIDE = {
    *("apiflask", "flask", "celery", "kombu", "redis", "sqlalchemy", "alembic", "psycopg"),
    *("polars", "waitress", "pysqlite3", "structlog", "prometheus_client", "service", "worker"),
    *("click", "rich", "httpx", "httpx2"),
}


def modules_after(code):
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_importing_chainrule_is_light():
    assert not modules_after("import chainrule") & {*SERVICE_SIDE, "numpy", "pydantic"}


def test_training_needs_nothing_of_the_service():
    code = (
        "import chainrule\n"
        "spec = {'input': {'shape': [2]}, 'layers': [{'kind': 'dense', 'units': 1}]}\n"
        "net = chainrule.Network(spec)\n"
        "list(chainrule.fit(net, ([[0.0, 1.0]], [1.0]), {'epochs': 1}))\n"
        "chainrule.check_gradients(spec)\n"
    )
    seen = modules_after(code)
    assert not seen & {*SERVICE_SIDE, "sklearn", "scipy", "torch"}
    assert {"numpy", "pydantic"} <= seen


@pytest.mark.parametrize("first", ["chainrule.fitting", "chainrule.fitting.loop", "chainrule"])
def test_fit_can_be_called_whatever_was_imported_first(first):
    modules_after(
        f"import {first}\n"
        "import chainrule\n"
        "spec = {'input': {'shape': [2]}, 'layers': [{'kind': 'dense', 'units': 1}]}\n"
        "reports = chainrule.fit(chainrule.Network(spec), ([[0.0, 1.0]], [1.0]), {'epochs': 2})\n"
        "assert len(list(reports)) == 2\n"
    )


def test_the_public_list_is_complete_and_sorted():
    assert chainrule.__all__ == sorted(chainrule.__all__)
    assert dir(chainrule) == chainrule.__all__
    for name in chainrule.__all__:
        assert getattr(chainrule, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        chainrule.nothing  # noqa: B018


class WrongDense(Dense):
    """A dense layer whose gradient is off by one part in ten thousand."""

    def forward(self, x, tape):
        y, backward = super().forward(x, tape)

        def wrong(dy):
            dx = backward(dy)
            tape.gradient(self.kernel).view[...] *= 1.0001
            return dx

        return y, wrong


def test_the_gradient_check_catches_a_slightly_wrong_gradient(monkeypatch):
    monkeypatch.setitem(LAYERS, "dense", WrongDense)
    spec = {"input": {"shape": [4]}, "layers": [{"kind": "dense", "units": 3}]}
    errors = chainrule.check_gradients(spec)
    assert errors["dense_1"] == pytest.approx(1e-4, rel=0.01)
    assert errors["inputs"] < 1e-6


def test_the_gradient_check_gives_up_where_every_probe_meets_a_kink(monkeypatch):
    # Steps of 1e3 cross the kinks of every unit.
    monkeypatch.setattr(gradcheck, "_EPSILON", 1e3)
    layers = [{"kind": "dense", "units": 20, "activation": "relu"}, {"kind": "dense", "units": 1}]
    with pytest.raises(chainrule.ChainruleError, match="every batch drawn lies at a kink"):
        chainrule.check_gradients({"input": {"shape": [4]}, "layers": layers})


def test_a_gradient_at_a_kink_is_not_compared_with_the_mean_of_its_two_sides(monkeypatch):
    monkeypatch.setattr(gradcheck, "_STIR", 0.0)
    at_rest = {"kind": "dense", "units": 3, "activation": "leaky_relu"}
    layers = [{**at_rest, "kernel_initializer": "zeros"}, {"kind": "dense", "units": 2}]
    with pytest.raises(chainrule.ChainruleError, match="every batch drawn lies at a kink"):
        chainrule.check_gradients({"input": {"shape": [4]}, "layers": layers})


def test_the_gradient_check_says_that_it_takes_an_architecture_and_no_network():
    net = chainrule.Network({"input": {"shape": [4]}, "layers": [{"kind": "dense", "units": 3}]})
    with pytest.raises(chainrule.SpecError, match=r"as net\.spec is, got a Network"):
        chainrule.check_gradients(net)
    assert max(chainrule.check_gradients(net.spec).values()) < 1e-6


def test_units_at_rest_are_checked_beside_their_kink():
    at_rest = {"kind": "dense", "units": 3, "activation": "leaky_relu"}
    layers = [{**at_rest, "kernel_initializer": "zeros"}, {"kind": "dense", "units": 2}]
    errors = chainrule.check_gradients({"input": {"shape": [4]}, "layers": layers})
    assert max(errors.values()) < 1e-6
