"""A report as the command line shows it: tables of every kind of output."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from chainrule.cli.app import app
from chainrule.cli.shared import Session as CliSession
from chainrule.cli.shared import warn

DOCS = Path(__file__).parents[2] / "docs"


def estimate(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def report(**changes):
    metrics = {"accuracy": estimate(0.75, 0.5, 0.9), "log_loss": estimate(None)}
    row = {"label": "b", "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1200}
    where = {"rows": 50, **estimate(0.5, 0.4, 0.6)}
    output = {
        "kind": "classes",
        "target": "y",
        "task": "classification",
        "loss": "softmax_cross_entropy",
        "parts": {
            "test": {
                "positions": 50,
                "metrics": metrics,
                "classes": [{**row, "label": "a", "f1": 0.9}, row],
                "confusion": {"classes": ["a", "b"], "others": True, "counts": [[1, 2, 3]] * 3},
            }
        },
        "null_models": [
            {"kind": "majority", "rows": 9, "reason": None, "parts": {"test": metrics}},
            {"kind": "linear", "rows": 0, "reason": "too [large]", "parts": {}},
        ],
        "detail": {},
        "slices": {
            "metric": "accuracy",
            "columns": 2,
            "count": 1234,
            "items": [
                {"column": "sex", "category": "f", **where},
                {"column": "sex", "missing": True, **where},
                {"column": "sex", "unseen": True, **where},
                {"column": "age", "above": None, "to": 18.0, **where},
                {"column": "age", "above": 18.0, "to": 31.5, **where},
                {
                    "column": "on",
                    "above": 1717113600.0,
                    "to": 1717158600.0,
                    "datetime": True,
                    **where,
                },
            ],
        },
        "verdict": {
            "status": "better",
            "part": "test",
            "metric": "accuracy",
            "text": "better than the best null model (majority, accuracy 0.5) by 0.25 ± 0.1",
        },
    }
    whole = {
        "status": "complete",
        "reason": None,
        "judged": "test",
        "rows": {"test": {"rows": 400, "rows_used": 50}},
        "outputs": {"dense_1": output},
    }
    return whole | changes


@pytest.fixture
def show(monkeypatch):
    """Run the command on a report; return its exit code and what it says."""

    class Session(CliSession):
        given = None

        @property
        def client(self):
            return self

        def job(self, _):
            return self

        def evaluation(self):
            return Session.given

        def close(self): ...

    def act(given):
        Session.given = given
        monkeypatch.setattr("chainrule.cli.shared.Session", Session)
        result = CliRunner().invoke(app, ["evaluation", "job_1"], catch_exceptions=False)
        return result.return_value, result.output

    return act


def test_every_table_of_a_report_is_shown(show):
    _, out = show(report())
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "y (classification)",
        "better than the best null model (majority, accuracy 0.5) by 0.25 ± 0.1",
        "judged on 400 test rows, of them 50 drawn",
        "accuracy 0.75 [0.5, 0.9]",
        "log_loss -",
        "the network accuracy 0.75 [0.5, 0.9]",
        "majority accuracy 0.75 [0.5, 0.9]",
        "linear left out: too [large]",
        "b 0.500 0.250 0.333 1,200",
        "a b others",
        "others 1 2 3",
        "segments, the worst first of 1,234",
        "sex = f 50 0.5 [0.4, 0.6]",
        "sex is missing 50 0.5 [0.4, 0.6]",
        "sex is new to the model 50 0.5 [0.4, 0.6]",
        "age <= 18 50 0.5 [0.4, 0.6]",
        "18 < age <= 31.5 50 0.5 [0.4, 0.6]",
        "2024-05-31 < on <= 2024-05-31T12:30:00Z 50 0.5 [0.4, 0.6]",
    ):
        assert line in lines
    assert lines.index("b 0.500 0.250 0.333 1,200") < lines.index("a 0.500 0.250 0.900 1,200")


def test_a_report_that_was_not_made_says_why(show):
    _, out = show(report(status="failed", reason="ValueError: [red]no"))
    assert out == "failed: ValueError: [red]no\n"


@pytest.mark.parametrize("dead", [False, True])
def test_the_diagnosis_of_the_docs_finds_units_that_learn_nothing(
    client, table, tmp_path, monkeypatch, dead
):
    first = {"kind": "dense", "units": 8, "activation": "relu" if dead else "tanh"}
    if dead:
        first["bias_initializer"] = {"kind": "constant", "value": -100}
    network = {"layers": [first, {"kind": "dense", "units": "auto"}]}
    data = {"inputs": ["x", "y"], "target": "color"}
    client.train(table, network, {"epochs": 3}, data=data).wait().download(tmp_path / "model.zip")
    (tmp_path / "rows.csv").write_text(table.read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "evaluation.md").read_text("utf-8")
    (code,) = re.findall(r"<!-- diagnosis -->\n```python\n(.*?)```", text, re.DOTALL)
    found = {}
    exec(code, found)
    assert found["losses"].mean() == pytest.approx(found["loss"], rel=1e-5)
    assert found["losses"][found["worst"][0]] == found["losses"].max()
    idle = {"dense_1.kernel": list(range(8)), "dense_2.kernel": [0, 1]}  # dead units feed nothing
    assert found["idle"] == (idle if dead else {name: [] for name in idle})
    assert (found["steps"]["dense_1.kernel"] == 0) is dead
    assert found["steps"]["dense_2.bias"] > 0
    assert any(found["rise"]) is not dead


def test_of_many_warnings_the_first_are_shown_and_the_others_counted(capsys):
    warn(CliSession(None, None, as_json=False), [f"odd {i}" for i in range(6)])
    assert capsys.readouterr().err.endswith("warning odd 4\nand 1 more warning\n")
