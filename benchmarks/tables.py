"""Small tables beside scikit-learn's own pipeline: ``make bench-tables``.

Four of its datasets as raw CSV, parsed and split by us; both sides learn from the same training
rows and are scored on the same test rows. Ours has the default recipe, two layers, and ends by the
validation rows that the split sets aside; theirs is StandardScaler and an MLP of the same width
with its defaults, given enough epochs to end by itself. Nothing was chosen by these scores.
"""

from __future__ import annotations

import tempfile
from math import hypot
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn import datasets
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.report import Case, write
from chainrule.fitting import TrainingLoop
from chainrule.mapping import open_tensors
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.spec import ArchitectureSpec, DataSpec, complete, parse
from service.parsing.files import parse_file

if TYPE_CHECKING:
    from chainrule.kernels import Array

TABLES = ("breast_cancer", "wine", "diabetes", "iris")
SEEDS = range(5)
UNITS = 100  # scikit-learn's default
LAYERS = [
    {"kind": "dense", "units": UNITS, "activation": "relu"},
    {"kind": "dense", "units": "auto"},
]
TRAINING = {"epochs": 500, "early_stopping": {}}
THEIR_EPOCHS = 2000  # at most: it ends once its training loss stands still
PAGE = Path(__file__).parents[1] / "docs" / "data.md"
BEGIN, END = "<!-- benchmarks/tables.py -->\n", "<!-- end -->"


def main() -> int:
    """Score all tables, and put the figures into docs/data.md; 1 if a bar is missed."""
    cases, lines = [], [_HEAD]
    for name in TABLES:
        with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
            data = _parsed(Path(folder), name)
        scores = np.array([_scores(*data, seed) for seed in SEEDS])
        ours, theirs = scores.T.tolist()
        error = hypot(_error(ours), _error(theirs))
        measure = "R²" if _is_regression(name) else "accuracy"
        bar = mean(theirs) - error
        print(f"{name}: ours {_shown(ours)}, theirs {_shown(theirs)}, by seed {scores.tolist()}")
        peer = f"scikit-learn {sklearn.__version__}, less the standard error of the difference"
        cases.append(
            Case(f"{name}, {measure}", 1, mean(ours), bar, peer, measure, mean(ours) / bar)
        )
        verdict = "yes" if mean(ours) >= bar else "**no**"
        lines.append(f"| {name} | {measure} | {_shown(ours)} | {_shown(theirs)} | {verdict} |")
    write("tables", cases)
    text = PAGE.read_text("utf-8")
    PAGE.write_text(with_table(text, "\n".join(lines) + "\n"), "utf-8")
    return 1 if any(case.ours < case.theirs for case in cases) else 0


def with_table(text: str, table: str) -> str:
    """Return a page's text with another table between the comments."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}"


_HEAD = (
    f"| table | score on the test rows | ours | scikit-learn {sklearn.__version__} | reached |\n"
    "|---|---|--:|--:|---|"
)


def _is_regression(name: str) -> bool:
    return name == "diabetes"


def _parsed(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Write a dataset as CSV, the classes as words, and return what parsing makes of it."""
    found = getattr(datasets, f"load_{name}")()
    path = folder / f"{name}.csv"
    columns = [*(str(column).replace(" ", "_") for column in found.feature_names), "target"]
    with path.open("w", encoding="ascii") as file:
        file.write(",".join(columns) + "\n")
        for row, target in zip(found.data.tolist(), found.target.tolist(), strict=True):
            label = target if _is_regression(name) else found.target_names[target]
            file.write(",".join([*map(repr, row), str(label)]) + "\n")
    parsed = parse_file(path, "csv", folder / "prepared")
    return parsed.schema, open_tensors(parsed.prepared)


def _scores(schema: dict[str, Any], tensors: dict[str, Array], seed: int) -> tuple[float, float]:
    recipe, _ = Recipe.fit(tensors, schema, DataSpec(target="target"), seed=seed)
    split = recipe.indices(tensors)
    features = np.stack([t for name, t in tensors.items() if name != "target"], axis=1)
    x, y = (
        [values[rows] for rows in (split.train, split.test)]
        for values in (features, tensors["target"])
    )
    regression = tensors["target"].dtype.kind == "f"
    kind = MLPRegressor if regression else MLPClassifier
    theirs = make_pipeline(
        StandardScaler(), kind(hidden_layer_sizes=[UNITS], max_iter=THEIR_EPOCHS, random_state=seed)
    )
    theirs.fit(x[0], y[0])
    score = r2_score if regression else accuracy_score
    expected = y[1] if regression else np.array(_words(schema))[y[1]]
    return (
        float(score(expected, _predicted(recipe, tensors, seed))),
        float(score(y[1], theirs.predict(x[1]))),
    )


def _predicted(recipe: Recipe, tensors: dict[str, Array], seed: int) -> list[Any]:
    """Train ours and return its predictions for the test rows, in the file's words or units."""
    split = recipe.indices(tensors)
    layers = parse(ArchitectureSpec, {"layers": LAYERS})
    spec = complete(
        layers, recipe.input_shape, dict.fromkeys(layers.output_names, recipe.output_shape[-1])
    )
    net = Network(spec, seed=seed)
    training = {**TRAINING, "loss": {"kind": recipe.loss}, "seed": seed}
    loop = TrainingLoop(
        net,
        recipe.apply(tensors, split.train, "float32"),
        training,
        validation=recipe.apply(tensors, split.validation, "float32"),
        target_scale=recipe.target_scale,
    )
    for _ in loop.run():
        pass
    loop.finish()
    x, *_ = recipe.apply(tensors, split.test, "float32")
    predictions: list[Any] = recipe.invert(net.predict(x))["predictions"]
    return predictions


def _words(schema: dict[str, Any]) -> list[str]:
    words: list[str] = schema["columns"][-1]["categories"]
    return words


def _error(scores: list[float]) -> float:
    """Return the standard error of the mean."""
    return float(stdev(scores) / len(scores) ** 0.5)


def _shown(scores: list[float]) -> str:
    return f"{mean(scores):.3f} ± {_error(scores):.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
