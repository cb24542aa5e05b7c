"""The command line against the real service: exit codes, --json, Ctrl-C."""

import json
import re
import signal
import subprocess
import sys
import zipfile

import numpy as np
import polars as pl
import pytest

from chainrule.cli.app import run
from tests.graph_jobs import SIDES, pairs
from tests.waiting import eventually

CLI = [sys.executable, "-m", "chainrule.cli"]
SMALL = ["--target", "color", "--inputs", "x,y", "--layers", "8 tanh", "--epochs", "20"]


@pytest.fixture
def say(capsys):
    """Run the command line here; return its exit code, stdout and stderr."""

    def say(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return say


@pytest.fixture
def job(say, configured, table):
    code, out, err = say("train", table, *SMALL, "--json")
    assert code == 0, err
    return json.loads(out)


def test_train_watches_the_job_and_tells_how_it_went(say, configured, table, tmp_path):
    code, out, err = say("train", table, *SMALL, "--name", "clouds", "-o", tmp_path / "m.zip")
    assert code == 0, err
    assert "200 rows" in out
    assert "classification of color" in out
    assert "succeeded in" in out
    assert re.search(r"validation +loss \d\.\d{4}  accuracy", out)
    assert zipfile.is_zipfile(tmp_path / "m.zip")


def test_train_in_json_prints_the_job_alone(job):
    assert job["state"] == "succeeded"
    assert job["config"]["training"]["epochs"] == 20


def test_train_takes_an_architecture_from_a_file_and_every_option(say, configured, table, tmp_path):
    file = tmp_path / "net.json"
    file.write_text('{"layers": [{"kind": "dense", "units": "auto"}]}')
    options = ["--optimizer", "sgd", "--learning-rate", "0.1", "--batch-size", "8", "--seed", "7"]
    options += ["--epochs", "2", "--loss", "mean_squared_error", "--task", "regression"]
    words = ["--architecture", file, "--target", "height", "--inputs", "x,y", *options]
    code, out, err = say("train", table, *words, "--json")
    assert code == 0, err
    training = json.loads(out)["config"]["training"]
    assert training["optimizer"]["kind"] == "sgd"
    assert (training["batch_size"], training["seed"]) == (8, 7)


def test_train_takes_more_of_a_job_as_json_or_a_file_and_its_own_options_go_first(
    say, configured, table, tmp_path
):
    more = tmp_path / "training.json"
    more.write_text('{"epochs": 9, "class_weights": "balanced", "optimizer": {"kind": "nadam"}}')
    words = ["--target", "color", "--exclude", "height", "--epochs", "1", "--learning-rate", "0.1"]
    words += ["--data", '{"split": {"kind": "stratified"}}', "--training", more]
    code, out, err = say("train", table, *words, "--json")
    assert code == 0, err
    config = json.loads(out)["config"]
    assert config["data"]["inputs"] == ["x", "y"]
    assert config["data"]["split"]["kind"] == "stratified"
    training = config["training"]
    assert (training["epochs"], len(training["class_weights"])) == (1, 2)
    assert (training["optimizer"]["kind"], training["optimizer"]["learning_rate"]) == ("nadam", 0.1)


@pytest.mark.parametrize(
    ("option", "given"), [("--data", "{target"), ("--training", "[1]"), ("--data", "no/such.json")]
)
def test_what_is_no_json_is_named_with_its_option(say, configured, table, option, given):
    code, _, err = say("train", table, "--target", "color", option, given)
    assert code == 2
    assert f"Invalid value for {option}" in err


def test_a_job_begins_with_the_weights_of_a_model_or_of_a_checkpoint(say, configured, table, job):
    step = job["progress"]["step"]
    for named, wanted in (
        (job["model_id"], {"model_id": job["model_id"], "job_id": None, "step": None}),
        (job["id"], {"model_id": None, "job_id": job["id"], "step": step}),
        (f"{job['id']}@{step}", {"model_id": None, "job_id": job["id"], "step": step}),
    ):
        code, out, err = say("train", table, *SMALL, "--warm-start", named, "--json")
        assert code == 0, err
        warm = json.loads(out)
        assert warm["config"]["training"]["warm_start"] == wanted
        assert warm["warm_start"]["restored"] == ["dense_1", "dense_2"]
    deeper = [*SMALL[:4], "--layers", "8 tanh, 4 tanh", "--epochs", "1"]
    code, _, err = say("train", table, *deeper, "--warm-start", job["model_id"])
    assert code == 0
    assert "skipped dense_2: kernel: (8, 4) here, (8, 2) in the source" in err
    assert "skipped dense_3: the source has no layer dense_3" in err


def test_folds_are_told_with_their_mean(say, configured, client, table):
    words = ("--target", "color", "--layers", "4 tanh", "--epochs", "5", "--folds", "3", "--json")
    code, out, _ = say("train", table, *words)
    assert code == 0
    view = json.loads(out)
    found = view["cross_validation"]
    assert [fold["fold"] for fold in found["folds"]] == [1, 2, 3]
    assert set(view["metrics"]) == {"train", "validation", "test"}
    assert view["metrics"]["validation"] == found["mean"]
    job = client.job(view["id"])
    rows = job.metrics()
    assert [row["fold"] for row in rows] == [1] * 5 + [2] * 5 + [3] * 5 + [None] * 5
    for fold in found["folds"]:
        assert fold["validation"] == rows[5 * fold["fold"] - 1]["validation"]
    model = client.model(view["model_id"])
    assert model.view["metrics"]["cross_validation"] == found
    mean, error = found["mean"]["accuracy"], found["standard_error"]["accuracy"]
    code, out, _ = say("watch", view["id"])
    assert f"accuracy {mean:.4f} ± {error:.4f} (3 folds)" in out


def test_an_evaluation_is_shown_beside_null_models(say, configured, table, job):
    code, out, err = say("evaluation", job["id"])
    told = "warning data.inputs: '{}' alone tells 'color' almost always: would it be known"
    assert (code, [line[: len(told) - 1] for line in err.splitlines()]) == (
        0,
        [told.format("x"), told.format("y")],
    )
    for line in (
        r"better than the best null model \((majority|linear), accuracy ",
        r"judged on 20 test rows",
        r"accuracy +\S+ \[.*\] +\S+ \[.*\] +\S+ \[.*\]",
        r"majority +accuracy 0\.\d+ \[",
        r"amber +\d\.\d{3} +\d\.\d{3} +\d\.\d{3} +\d+",
    ):
        assert re.search(line, out), line
    code, shown, _ = say("evaluation", job["model_id"], "--json")
    assert json.loads(shown)["status"] == "complete"
    code, out, _ = say("train", table, *SMALL)
    assert re.search(r"verdict +(not )?better than the best null model", out)
    assert "warning    data.inputs: 'x' alone tells 'color'" in out


def test_an_evaluation_of_numbers_is_shown_too(say, configured, table):
    code, out, err = say("train", table, "--target", "height", "--inputs", "x,y", "--json")
    assert code == 0, err
    code, out, _ = say("evaluation", json.loads(out)["id"])
    assert code == 0
    assert re.search(r"rmse +\d", out)
    assert re.search(r"median +rmse \d", out)
    assert "segments" not in out  # of 20 rows a fifth is too few


def test_an_evaluation_that_is_not_there_is_exit_code_3(say, configured):
    code, _, err = say("evaluation", "job_00000000000070008000000000000000")
    assert (code, "no evaluation of job_0" in err) == (3, True)


def test_detach_returns_at_once_and_watch_sees_the_end(say, configured, table):
    code, out, _ = say("train", table, *SMALL, "--detach", "--json")
    assert code == 0
    job_id = json.loads(out)["id"]
    code, out, _ = say("watch", job_id)
    assert code == 0
    assert "succeeded" in out


def test_a_failed_job_is_exit_code_1_with_the_reason(say, configured, table):
    words = [
        "--target",
        "height",
        "--inputs",
        "x,y",
        "--optimizer",
        "sgd",
        "--learning-rate",
        "1e9",
    ]
    code, out, _ = say("train", table, *words, "--epochs", "50")
    assert code == 1
    assert "diverged" in out
    assert re.search(r"in epoch \d+, step \d+ \(a lower learning_rate, or clip, may help\)", out)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "missing.csv", "--target", "x"],
        ["train", "{table}", "--target", "color", "--layers", "8 rellu"],
        ["train", "{table}", "--target", "nowhere"],
        ["train", "{table}", "--target", "color", "--epochs", "0"],
        ["train", "{table}", "--target", "color", "--warm-start", "job_1@last"],
        ["train", "{table}", "--target", "color", "--warm-start", "mdl_none"],
        ["train", "{table}", "--target", "color", "--layers", "8", "--architecture", "{table}"],
        ["train", "{table}", "--target", "color", "--detach", "-o", "x.zip"],
        ["train"],
        ["fly"],
        ["jobs", "--limit", "0"],
        ["jobs", "--url", "nonsense"],
    ],
)
def test_what_cannot_be_done_as_asked_is_exit_code_2(say, configured, table, words):
    code, out, err = say(*(word.format(table=table) for word in words))
    assert code == 2, err
    assert not out or "uploaded" in out
    assert err


def test_an_unknown_job_is_exit_code_3(say, configured):
    code, _, err = say("watch", "job_00000000000070008000000000000000")
    assert (code, "no job job_0000" in err) == (3, True)


@pytest.mark.parametrize("command", ["predict", "download"])
def test_a_model_that_is_not_there_is_exit_code_3_and_named(say, configured, table, command):
    code, _, err = say(command, "nope.zip", *([table] if command == "predict" else []))
    assert (code, "model" in err, "nope.zip" in err) == (3, True, True)


def test_rows_that_are_not_there_are_a_usage_error(say):
    code, _, err = say("predict", "x.zip", "nothere.csv")
    assert (code, "'nothere.csv' does not exist" in err) == (2, True)


def test_train_tells_the_network_and_where_there_is_no_terminal_draws_nothing(
    say, configured, table
):
    code, out, err = say("train", table, *SMALL[:4], "--layers", "8 tanh, auto", "--epochs", "2")
    assert (code, err) == (0, "")
    assert "classification of color, 2-8-2, 42 parameters" in out


def test_a_network_with_several_inputs_and_outputs_is_trained_and_asked(say, configured, tmp_path):
    sides = {"left": {"shape": [2]}, "right": {"shape": [2]}}
    (tmp_path / "twins.json").write_text(json.dumps({**SIDES, "inputs": sides}))
    np.savez(tmp_path / "pairs.npz", **pairs(100))
    code, out, err = say(
        "train", tmp_path / "pairs.npz", "--architecture", tmp_path / "twins.json",
        "--epochs", "2", "-o", tmp_path / "model.zip",
    )  # fmt: skip
    assert code == 0, err
    assert "classification of same, regression of far" in out
    assert re.search(r"train +loss \d\.\d{4} .* same\.accuracy \d\.\d{4} .* far\.mae", out)
    asked = {name: array for name, array in pairs(3).items() if name in sides}
    np.savez(tmp_path / "asked.npz", **asked)
    job_id = re.search(r"job_\w+", out)[0]
    remote = say("predict", job_id, tmp_path / "asked.npz")
    lines = [json.loads(line) for line in remote[1].splitlines()]
    assert [set(line) for line in lines] == [{"same", "far"}] * 3
    assert say("predict", tmp_path / "model.zip", tmp_path / "asked.npz") == remote


def test_a_doubtful_target_is_remarked_on(say, configured, tmp_path):
    path = tmp_path / "yes.csv"
    path.write_text("x,yes\n" + "".join(f"{i}.5,{i % 2}\n" for i in range(40)) + "3.5,\n")
    words = ["train", path, "--target", "yes", "--epochs", "1", "--detach"]
    err = say(*words)[2]
    assert "dropped 1 row without 'yes'" in err
    assert "'yes' has 2 distinct whole numbers and is learnt as a number" in err
    assert "warning" not in say(*words, "--task", "classification")[2]


def test_an_npz_is_predicted_as_it_was_trained_on(say, configured, tmp_path):
    x = np.random.default_rng(0).standard_normal((60, 2, 2)).astype(np.float32)
    path, bundle = tmp_path / "data.npz", tmp_path / "model.zip"
    np.savez(path, images=x, labels=(x[:, 0, 0] > 0).astype(np.int64))
    words = ["--target", "labels", "--layers", "flatten", "--epochs", "1", "-o", bundle, "--json"]
    code, out, err = say("train", path, *words)
    assert code == 0, err
    remote = say("predict", json.loads(out)["model_id"], path)
    assert (remote[0], len(remote[1].splitlines())) == (0, 60)
    assert say("predict", bundle, path) == remote


def test_a_file_is_predicted_in_a_job(say, configured, job, table, tmp_path):
    path = tmp_path / "result.ndjson"
    words = ["predict", job["model_id"], "--dataset", table, "--output", path]
    code, out, err = say(*words)
    assert (code, err) == (0, "")
    assert "predicts 200 rows" in out
    assert f"saved {path}" in " ".join(out.split())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert (len(lines), lines[0].keys() >= {"prediction"}) == (200, True)
    code, out, _ = say(*words, "--json")
    view = json.loads(out)
    assert (code, view["kind"], view["path"]) == (0, "prediction", str(path))
    assert re.search(rf"{view['id']} .* 200/200", say("jobs")[1])
    watched = say("watch", view["id"])[1]
    assert "prediction of 200 rows" in watched
    assert view["result"]["dataset_id"] in watched


@pytest.mark.parametrize("name", ["other.csv", "other.parquet"])
def test_a_file_that_is_not_plain_is_read_by_the_service(say, configured, job, tmp_path, name):
    plain, other = tmp_path / "plain.csv", tmp_path / name
    frame = pl.DataFrame({"x": [1.25, None, 0.5], "y": [0.5, -1.5, 3.0]})
    frame.write_csv(plain)
    if name.endswith("csv"):
        text = plain.read_text().replace(",", ";").replace(".", ",")
        other.write_text("sep=;\n" + text)
    else:
        frame.write_parquet(other)
    here = say("predict", job["model_id"], plain)
    code, out, err = say("predict", job["model_id"], other)
    assert (code, out) == (here[0], here[1])
    assert re.fullmatch(r"job_\w+ predicts 3 rows\n", err)
    answers = [say("predict", job["model_id"], path, "--json") for path in (plain, other)]
    first, second = (json.loads(answer[1]) for answer in answers)
    assert first.keys() == second.keys()
    assert (first["predictions"], first["classes"]) == (second["predictions"], second["classes"])
    np.testing.assert_allclose(first["probabilities"], second["probabilities"], rtol=1e-6)
    assert say("download", job["model_id"], "-o", tmp_path / "model.zip")[0] == 0
    code, _, err = say("predict", tmp_path / "model.zip", other)
    assert (code, "give the model's id in the place of its bundle" in err) == (2, True)


def test_a_file_with_thousands_is_predicted_as_it_was_trained_on(say, configured, tmp_path):
    path = tmp_path / "incomes.csv"
    lines = [f'"{1000 + 7 * i:,}.50",{"rich" if i > 20 else "poor"}' for i in range(40)]
    path.write_text("\n".join(["income,who", *lines]) + "\n", "utf-8")
    bundle = tmp_path / "model.zip"
    code, out, err = say("train", path, "--target", "who", "--json", "-o", bundle)
    assert code == 0, err
    code, out, err = say("predict", json.loads(out)["id"], path)
    assert (code, set(out.split())) == (0, {"poor", "rich"}), err
    assert len(out.split()) == 40
    code, _, err = say("predict", bundle, path)
    assert code == 2
    assert "rows[0].income: '1,000.50' has a comma" in err
    assert "give the model's id in the place of its bundle" in err


def test_models_lists_what_was_learnt(say, configured, job):
    code, out, _ = say("models")
    assert code == 0
    assert re.search(rf"{job['model_id']}  .*test accuracy \d\.\d{{4}}", out)
    code, out, _ = say("models", "--json", "--limit", "1")
    assert (code, len(json.loads(out))) == (0, 1)


def test_what_a_batch_prediction_lacks_is_a_usage_error(say, configured, job, table, tmp_path):
    (tmp_path / "bad.csv").write_text("y\n1\n")
    model, out = job["model_id"], ["--output", tmp_path / "r.csv"]
    assert say("predict", model)[0] == 2
    assert say("predict", model, "--dataset", table)[0] == 2
    code, _, err = say("predict", model, "--dataset", table, "--output", tmp_path / "r.xls")
    assert (code, "must end in one of csv, ndjson, npy" in err) == (2, True)
    code, _, err = say("predict", model, "--dataset", tmp_path / "bad.csv", *out)
    assert (code, "has no column 'x'" in err) == (2, True)
    assert say("predict", model, "--dataset", "ds_" + "0" * 32, *out)[0] == 3


def test_a_refused_key_is_exit_code_4_and_says_what_to_set(say, configured):
    code, _, err = say("jobs", "--key", "wrong")
    assert code == 4
    assert "CHAINRULE_API_KEY" in err


def test_nobody_there_is_exit_code_5_and_says_what_to_start(say, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA_DIR", str(tmp_path))
    code, _, err = say("jobs", "--url", "http://127.0.0.1:1")
    assert code == 5
    assert "chainrule up" in err


def test_bad_variables_are_exit_code_2_all_at_once(say, monkeypatch):
    monkeypatch.setenv("CHAINRULE_PORT", "x")
    monkeypatch.setenv("CHAINRULE_HOST", "a b")
    code, _, err = say("jobs")
    assert code == 2
    assert "CHAINRULE_PORT" in err
    assert "CHAINRULE_HOST" in err


def test_jobs_lists_what_was_trained(say, configured, job):
    code, out, _ = say("jobs", "--state", "succeeded")
    assert code == 0
    assert "validation loss" in out
    assert f"{job['metrics']['validation']['loss']:.4f}" in out
    assert job["id"] in out
    code, out, _ = say("jobs", "--json", "--limit", "1")
    assert [found["id"] for found in json.loads(out)] == [job["id"]]


def test_system_tells_how_the_service_is(say, configured):
    code, out, _ = say("system")
    assert code == 0
    assert re.search(r"^ready\.worker +ok$", out, re.MULTILINE)
    code, out, _ = say("system", "--json")
    assert json.loads(out)["ready"]["database"] == "ok"


def test_a_download_is_predicted_with_no_service_as_with_one(say, configured, job, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("x,y\n1.2,1.0\n0.1,-0.2\n")
    code, out, _ = say("download", job["id"], "-o", tmp_path / "model.zip", "--json")
    assert code == 0
    assert json.loads(out)["path"] == str(tmp_path / "model.zip")
    remote = say("predict", job["id"], rows)
    assert remote[0] == 0
    assert len(remote[1].splitlines()) == 2
    assert say("predict", job["model_id"], rows) == remote
    assert say("predict", tmp_path / "model.zip", rows, "--url", "http://127.0.0.1:1") == remote
    code, out, _ = say("predict", job["id"], rows, "--json")
    assert json.loads(out)["predictions"] == remote[1].split()


def test_a_bad_row_is_named(say, configured, job, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("x,y\n1.2,1.0\nmany,1\n")
    code, _, err = say("predict", job["id"], rows)
    assert code == 2
    assert "/rows/1/x" in err
    assert "many" in err


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(say, configured, table):
    command = [*CLI, "train", str(table), *SMALL[:-1], "1000000", "--batch-size", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        lines = iter(process.stdout.readline, b"")
        found = next(re.search(rb"job_\w+", line)[0] for line in lines if b"queued" in line)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    job_id = found.decode()
    assert process.returncode == 130
    assert f"chainrule watch {job_id}" in err.decode()
    _, out, _ = say("jobs", "--json")
    assert next(j["state"] for j in json.loads(out) if j["id"] == job_id) in {"queued", "running"}
    assert say("cancel", job_id)[0] == 0
    assert say("watch", job_id)[0] == 1


def test_a_job_is_paused_resumed_and_deleted_with_what_it_made(say, configured, table):
    words = [*SMALL[:-1], "1000000", "--detach", "--json"]
    job_id = json.loads(say("train", table, *words)[1])["id"]
    code, out, _ = say("pause", job_id)
    assert code == 0
    assert re.search("paus", out)
    eventually(lambda: json.loads(say("pause", job_id, "--json")[1])["state"] == "paused")
    assert say("resume", job_id)[1].startswith(f"{job_id} is ")
    assert say("delete", job_id)[0] == 1, "it has not ended"
    assert say("cancel", job_id)[0] == 0
    assert say("watch", job_id)[0] == 1
    assert say("delete", job_id)[:2] == (0, f"{job_id} is deleted\n")
    code, _, err = say("delete", job_id)
    assert (code, job_id in err) == (3, True)


@pytest.mark.parametrize("package", ["click", "rich", "httpx2"])
def test_a_missing_extra_is_explained_by_its_pip_line(package):
    code = f"import sys; sys.modules[{package!r}] = None; from chainrule.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "jobs"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "pip install 'chainrule[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        *("up", "demo", "train", "jobs", "watch", "pause", "resume", "cancel", "delete"),
        *("download", "predict", "system"),
    ],
)
def test_every_command_explains_itself_and_answers_in_json(say, command):
    code, out, _ = say(command, "--help")
    assert code == 0
    assert "--json" in out


def test_up_takes_its_options_tells_its_address_in_json_and_ends_on_ctrl_c(tmp_path):
    command = [*CLI, "up", "--json", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        told = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.wait(timeout=15)
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", told[0]["url"])
    assert told[1] == {"ready": True}
    assert process.returncode == 0
    assert (tmp_path / "data" / "api-key").stat().st_mode & 0o777 == 0o600
