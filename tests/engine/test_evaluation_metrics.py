"""Each number of an evaluation beside scikit-learn's, or a formula's, on the same predictions."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import calibration, metrics

from chainrule.evaluation import intervals
from chainrule.evaluation.classes import MAX_CONFUSED, ClassScores
from chainrule.evaluation.labels import LabelScores
from chainrule.evaluation.numbers import NumberScores
from chainrule.evaluation.ranking import MAX_POINTS, Ranking
from chainrule.evaluation.slices import slices
from chainrule.evaluation.verdict import difference, verdict

NEAR = {"rel": 1e-12, "abs": 1e-13}


def near(value):
    return pytest.approx(value, **NEAR)


def values(estimates):
    return {name: one["value"] for name, one in estimates.items()}


def classified(classes, rows=400, seed=0, rounded=None):
    """Log-probabilities that know something, and the true classes; rounded ones have ties."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, rows, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[truth]
    if rounded is not None:
        logits = logits.round(rounded)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return ClassScores(logits, truth, probable=True)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("rounded", [None, 0])
def test_the_metrics_of_classes_are_those_of_scikit_learn(classes, rounded):
    scores = classified(classes, rounded=rounded)
    truth, said, shares = scores.truth, scores.said, scores.probabilities
    found = values(scores.measure())
    assert found["accuracy"] == near(metrics.accuracy_score(truth, said))
    assert found["balanced_accuracy"] == near(metrics.balanced_accuracy_score(truth, said))
    assert found["log_loss"] == near(metrics.log_loss(truth, shares))
    for average in ("macro", "weighted"):
        wanted = metrics.precision_recall_fscore_support(truth, said, average=average)[:3]
        got = [found[f"{name}_{average}"] for name in ("precision", "recall", "f1")]
        assert got == near(list(wanted))
    binary = classes == 2
    goal = scores.scores[:, 1] - scores.scores[:, 0] if binary else shares  # ties as they are
    assert found["roc_auc"] == near(metrics.roc_auc_score(truth, goal, multi_class="ovr"))
    one_hot = (truth == 1).astype(int) if binary else np.eye(classes)[truth]
    assert found["average_precision"] == near(metrics.average_precision_score(one_hot, goal))
    brier = np.square(shares - np.eye(classes)[truth]).sum(axis=1).mean() / (2 if binary else 1)
    assert found["brier"] == near(brier)


def test_the_tables_of_classes_are_those_of_scikit_learn():
    scores, words = classified(5), ["a", "b", "c", "d", "e"]
    table = scores.table(words)
    wanted = metrics.precision_recall_fscore_support(scores.truth, scores.said)
    got = [[row[name] for row in table] for name in ("precision", "recall", "f1", "support")]
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours == near(theirs.tolist())
    assert [row["label"] for row in table] == words
    confusion = scores.confusion(words)
    assert confusion["counts"] == metrics.confusion_matrix(scores.truth, scores.said).tolist()
    assert (confusion["classes"], confusion["others"]) == (words, False)


def test_a_confusion_matrix_of_many_classes_adds_up_the_rest():
    scores = classified(40, rows=3_000)
    confusion = scores.confusion(list(range(40)))
    counts, whole = np.array(confusion["counts"]), metrics.confusion_matrix(
        scores.truth, scores.said, labels=range(40)
    )  # fmt: skip
    assert counts.shape == (MAX_CONFUSED + 1,) * 2
    assert counts.sum() == 3_000
    shown = confusion["classes"]
    assert counts[:-1, :-1].tolist() == whole[np.ix_(shown, shown)].tolist()
    assert np.bincount(scores.truth)[shown].min() >= np.bincount(scores.truth)[
        [k for k in range(40) if k not in shown]
    ].max()  # fmt: skip


def test_a_class_that_nobody_has_counts_nowhere():
    scores = ClassScores(np.log([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]]), np.array([0, 0]), True)
    found = values(scores.measure())
    assert found["balanced_accuracy"] == 0.5
    assert found["f1_macro"] == near(metrics.f1_score([0, 0], [0, 1], average="macro"))
    assert "roc_auc" not in found


def test_scores_that_are_no_probabilities_have_no_log_loss():
    scores = ClassScores(classified(3).scores * 2, classified(3).truth, probable=False)
    assert not {"log_loss", "brier", "calibration_error"} & {*scores.measure()}
    assert "calibration" not in scores.detail([0, 1, 2])


@pytest.mark.parametrize("rounded", [None, 1])
def test_the_curves_are_those_of_scikit_learn(rounded):
    scores = classified(2, rows=150, rounded=rounded)
    score, truth = scores.scores[:, 1] - scores.scores[:, 0], scores.truth == 1
    ranking = Ranking.of(score, truth)
    false, true, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    roc = ranking.roc()
    assert roc["false_positive_rate"] == pytest.approx(false, abs=1e-6)
    assert roc["true_positive_rate"] == pytest.approx(true, abs=1e-6)
    precision, recall, _ = metrics.precision_recall_curve(truth, score)
    curve = ranking.precision_recall()
    assert curve["precision"] == pytest.approx(precision[-2::-1], abs=1e-6)
    assert curve["recall"] == pytest.approx(recall[-2::-1], abs=1e-6)


def test_a_curve_has_a_bounded_number_of_points_and_its_ends():
    scores = classified(2, rows=5_000)
    roc = Ranking.of(scores.scores[:, 1], scores.truth == 1).roc()
    assert len(roc["true_positive_rate"]) <= MAX_POINTS
    for rates in roc.values():
        assert (rates[0], rates[-1], rates) == (0.0, 1.0, sorted(rates))


def test_an_area_has_the_interval_of_delong():
    scores = classified(2, rows=120, rounded=1)
    score, truth = scores.scores[:, 1], scores.truth == 1
    one, other = score[truth], score[~truth]
    psi = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    error = math.sqrt(psi.mean(1).var(ddof=1) / len(one) + psi.mean(0).var(ddof=1) / len(other))
    found = Ranking.of(score, truth).area()
    assert found["value"] == near(psi.mean())
    assert found["high"] - found["value"] == pytest.approx(intervals.Z_SCORE * error, rel=1e-9)


def test_a_share_has_the_interval_of_wilson():
    for hits, count in ((0, 7), (3, 7), (7, 7), (812, 1_000)):
        wanted = stats.binomtest(hits, count).proportion_ci(method="wilson")
        found = intervals.share(hits, count)
        assert (found["low"], found["high"]) == (
            pytest.approx(wanted.low, abs=1e-12),
            pytest.approx(wanted.high, abs=1e-12),
        )


def test_the_standard_error_of_positions_is_that_of_their_rows():
    rng = np.random.default_rng(3)
    alone = rng.normal(size=50)
    assert intervals.standard_error(alone) == near(stats.sem(alone))
    three = np.repeat(alone, 3)  # the same thing said three times tells no more
    assert intervals.standard_error(three, np.repeat(np.arange(50), 3)) == near(stats.sem(alone))
    assert math.isnan(intervals.standard_error(np.array([1.0])))


def test_calibration_of_two_classes_is_that_of_scikit_learn():
    scores = classified(2, rows=600)
    observed, said = calibration.calibration_curve(
        scores.truth, scores.probabilities[:, 1], n_bins=10
    )
    bins = scores.detail(["no", "yes"])["calibration"]
    assert [one["observed"] for one in bins] == near(observed.tolist())
    assert [one["probability"] for one in bins] == near(said.tolist())
    error = sum(one["rows"] * abs(one["observed"] - one["probability"]) for one in bins) / 600
    assert values(scores.measure())["calibration_error"] == near(error)


def test_calibration_of_more_classes_is_of_the_likeliest():
    scores = classified(4, rows=500)
    best = scores.probabilities.max(axis=1)
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (best >= low) & (best < low + 0.1)
        error += abs(best[inside].sum() - scores.right[inside].sum()) / 500
    assert values(scores.measure())["calibration_error"] == near(error)


def labelled(rows=300, labels=4):
    rng = np.random.default_rng(5)
    truth = (rng.random((rows, labels)) < [0.1, 0.3, 0.5, 0.8]).astype(float)
    return LabelScores(rng.normal(size=truth.shape) + truth, truth)


def test_the_metrics_of_labels_are_those_of_scikit_learn():
    scores = labelled()
    truth, said = scores.truth.astype(int), (scores.logits > 0).astype(int)
    found = values(scores.measure())
    assert found["accuracy"] == near((truth == said).mean())
    assert found["exact_match"] == near(metrics.accuracy_score(truth, said))
    assert found["f1_micro"] == near(metrics.f1_score(truth, said, average="micro"))
    for name, score in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        assert found[f"{name}_macro"] == near(score(truth, said, average="macro"))
    assert found["roc_auc"] == near(metrics.roc_auc_score(truth, scores.logits))
    wanted = metrics.average_precision_score(truth, scores.logits)
    assert found["average_precision"] == near(wanted)
    losses = [metrics.log_loss(truth[:, k], scores.probabilities[:, k]) for k in range(4)]
    assert found["log_loss"] == near(np.mean(losses))
    table = scores.table()
    wanted = metrics.precision_recall_fscore_support(truth, said)
    assert [row["f1"] for row in table] == near(wanted[2].tolist())
    assert [row["support"] for row in table] == wanted[3].tolist()
    assert [row["label"] for row in table] == [0, 1, 2, 3]
    curves = scores.detail()["curves"]
    assert [one["label"] for one in curves] == [0, 1, 2, 3]
    areas = [metrics.roc_auc_score(truth[:, k], scores.logits[:, k]) for k in range(4)]
    assert [one["roc_auc"]["value"] for one in curves] == near(areas)


def predicted(columns=1, rows=250):
    rng = np.random.default_rng(8)
    truth = rng.gamma(2.0, 30.0, size=(rows, columns))
    return NumberScores(truth * 0.9 + rng.normal(0, 9, size=truth.shape), truth)


@pytest.mark.parametrize("columns", [1, 3])
def test_the_metrics_of_numbers_are_those_of_scikit_learn(columns):
    scores = predicted(columns)
    truth, said = scores.truth, scores.predicted
    found = values(scores.measure())
    assert found["mse"] == near(metrics.mean_squared_error(truth, said))
    assert found["rmse"] == near(math.sqrt(metrics.mean_squared_error(truth, said)))
    assert found["mae"] == near(metrics.mean_absolute_error(truth, said))
    assert found["median_absolute_error"] == near(metrics.median_absolute_error(truth, said))
    assert found["r2"] == near(metrics.r2_score(truth, said))
    shown = scores.detail()["columns"]
    wanted = metrics.r2_score(truth, said, multioutput="raw_values").tolist()
    assert [one["r2"] for one in shown] == (near(wanted) if columns > 1 else [])


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_constant_target_has_the_r2_of_scikit_learn(scale):
    truth = np.full((20, 1), 3.0)
    said = truth + scale * np.arange(20)[:, None]
    found = NumberScores(said, truth).measure()["r2"]
    assert found["value"] == metrics.r2_score(truth, said)


def test_the_intervals_of_numbers_hold_what_they_say():
    """Of many samples of one population 95 % have its value within: 93 to 97 here."""
    rng = np.random.default_rng(1)
    inside = dict.fromkeys(("mse", "rmse", "mae", "median_absolute_error", "r2"), 0)
    truths = {"mse": 1.0, "rmse": 1.0, "mae": math.sqrt(2 / math.pi), "r2": 1 - 1 / 5}
    truths["median_absolute_error"] = stats.norm.ppf(0.75)
    for _ in range(600):
        said = 2 * rng.normal(size=(200, 1))
        found = NumberScores(said, said + rng.normal(size=said.shape)).measure()
        for name, wanted in truths.items():
            inside[name] += found[name]["low"] <= wanted <= found[name]["high"]
    assert {name: round(count / 6) for name, count in inside.items() if count < 552} == {}
    assert max(inside.values()) <= 594


def test_residuals_and_levels_add_up():
    scores = predicted()
    detail, error = scores.detail(), scores.truth - scores.predicted
    residuals = detail["residuals"]
    counts, edges = np.histogram(error, 20)
    assert residuals["counts"] == counts.tolist()
    assert residuals["edges"] == near(edges.tolist())
    assert residuals["quantiles"]["0.5"] == near(np.median(error))
    levels = detail["by_true_value"]
    assert [one["rows"] for one in levels] == [25] * 10
    order = np.argsort(scores.truth[:, 0])[:25]
    assert levels[0]["true_mean"] == near(scores.truth[order].mean())
    assert levels[0]["predicted_mean"] == near(scores.predicted[order].mean())
    same = NumberScores(scores.truth, scores.truth).detail()["residuals"]
    assert same["counts"] == [250]


def test_the_worst_slice_comes_first_and_a_few_unlucky_rows_do_not():
    right = np.ones(600)
    city = np.repeat([0, 1, 2], 200)
    right[400:500] = 0.0  # half of the third city
    rare = np.full(600, -1)
    rare[:6], right[0] = 0, 0.0
    age = np.tile(np.arange(20.0), 30)
    age[5] = np.nan
    table = {"city": city, "rare": rare, "age": age, "same": np.zeros(600)}
    words = {"city": ["a", "b", "c"], "rare": ["x"], "age": None, "same": None}
    found = slices(words, table.__getitem__, right, shares=True)
    first, *others = found["items"]
    assert (first["column"], first["category"], first["rows"]) == ("city", "c", 200)
    assert first["value"] == 0.5
    assert {name: first[name] for name in ("low", "high")} == {
        name: value for name, value in intervals.share(100, 200).items() if name != "value"
    }
    ages = sorted((one for one in others if one["column"] == "age"), key=lambda one: one["to"])
    assert [(one["above"], one["to"]) for one in ages] == [
        (None, 3.0), (3.0, 7.0), (7.0, 11.0), (11.0, 15.0), (15.0, 19.0),
    ]  # fmt: skip
    assert sum(one["rows"] for one in ages) == 599
    assert {one["column"] for one in found["items"]} == {"city", "rare", "age"}
    assert next(one for one in others if one["column"] == "rare")["missing"]


def test_of_errors_the_largest_slice_comes_first():
    error = np.concatenate([np.full(50, 1.0), np.full(50, 4.0) + np.arange(50) / 10])
    found = slices({"x": None}, {"x": np.arange(100.0)}.__getitem__, error, shares=False)
    assert found["items"][0] == {
        "column": "x", "above": 79.0, "to": 99.0, "rows": 20,
        "value": near(error[80:].mean()),
        "low": near(error[80:].mean() - intervals.Z_SCORE * stats.sem(error[80:])),
        "high": near(error[80:].mean() + intervals.Z_SCORE * stats.sem(error[80:])),
    }  # fmt: skip


def test_two_models_are_compared_row_by_row():
    model, null = classified(3, seed=1), classified(3, seed=1)
    worse = ClassScores(np.roll(null.scores, 1, axis=1), null.truth, probable=True)
    both = {"linear": (worse, worse.measure())}
    found = verdict("test", 400, "accuracy", (model, model.measure()), both)
    b, c = (model.right > worse.right).sum(), (model.right < worse.right).sum()
    assert found["gain"] == near((b - c) / 400)
    # Agresti & Min (2005), section 3: half a row more in each of the four cells.
    off, on = b + 0.5, c + 0.5
    error = math.sqrt((off + on) - (off - on) ** 2 / 402) / 402
    assert found["margin"] == near(intervals.Z_SCORE * error)
    assert found["status"] == "better"
    text = f"better than the best null model (linear, accuracy {worse.right.mean():.3g}) by "
    assert found["text"].startswith(text)
    turned = verdict("test", 400, "accuracy", both["linear"], {"linear": (model, model.measure())})
    assert (turned["status"], turned["gain"]) == ("not_better", -found["gain"])
    few = verdict("test", 9, "accuracy", (model, model.measure()), both)
    assert (few["status"], few["margin"]) == ("unclear", None)
    assert "too few test rows (9)" in few["text"]


def test_balanced_accuracy_is_compared_class_by_class():
    model, null = classified(3, seed=1), classified(3, seed=2)
    null = ClassScores(null.scores, model.truth, probable=True)
    gain, margin = difference("balanced_accuracy", model, null)
    wanted = metrics.balanced_accuracy_score(model.truth, model.said)
    wanted -= metrics.balanced_accuracy_score(model.truth, null.said)
    assert gain == near(wanted)
    parts = [(model.right - null.right)[model.truth == k] for k in range(3)]
    assert margin == near(intervals.Z_SCORE * math.sqrt(sum(p.var() / len(p) for p in parts)) / 3)


def test_errors_are_compared_row_by_row():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(4_000, 1))
    noise = rng.normal(size=truth.shape)
    model = NumberScores(truth + 0.5 * noise, truth)
    null = NumberScores(truth + 0.6 * noise, truth)  # the same noise: pairs tell it at once
    gain, margin = difference("rmse", model, null)
    assert gain == near(0.1 * math.sqrt((noise**2).mean()))
    boot = [0.1 * math.sqrt((noise[rng.integers(0, 4_000, 4_000)] ** 2).mean()) for _ in range(300)]
    assert margin == pytest.approx(intervals.Z_SCORE * np.std(boot), rel=0.15)
    gain, margin = difference("mae", model, null)
    assert gain == near(0.1 * np.abs(noise).mean())
    assert margin == near(intervals.Z_SCORE * stats.sem(0.1 * np.abs(noise[:, 0])))
