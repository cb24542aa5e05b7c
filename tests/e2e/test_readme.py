"""The README's main job, pasted as it stands: command line, curl and Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.cli.stack import Stack
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```(?:python)?\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def block(mark):
    """The one block of the README that holds a mark."""
    (found,) = (text for text in BLOCKS if mark in text)
    return found


@pytest.fixture(scope="module")
def paste(tmp_path_factory):
    """Run some lines of the README in a folder with the examples, against an own service."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with Stack(folder / "stack") as stack:
        scripts = str(Path(sys.executable).parent)
        variables = {
            **stack.environment,
            "CHAINRULE_PORT": stack.url.rpartition(":")[2],
            "PATH": f"{scripts}:{stack.environment.get('PATH', '')}",
        }
        key = str(stack.data_dir / "api-key")

        def run(*command):
            ours = [
                part.replace("~/.local/share/chainrule/api-key", key).replace(
                    "http://127.0.0.1:8000", stack.url
                )
                for part in command
            ]
            done = subprocess.run(
                ours,
                check=False,
                env=variables,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=100,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        yield run


def test_the_command_line_trains_the_readmes_network(paste):
    assert "succeeded" in paste("bash", "-ec", block("chainrule train"))


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl_alone_goes_from_a_file_to_a_prediction(paste):
    setup, *calls = re.split(r"\n(?=curl)", block("KEY=").strip())
    upload, submit, read, listen, download, predict, predict_all = calls
    ids = {}

    def say(call):
        for mark, known in ids.items():
            call = call.replace(mark, known)
        return paste("bash", "-ec", f"{setup}\n{call}")

    def curl(call):
        return json.loads(say(call) or "null")

    ids["ds_…"] = curl(upload)["id"]
    ids["job_…"] = curl(submit)["id"]
    assert '"to_state": "succeeded"' in say(listen), "the stream ends with the job"
    ids["mdl_…"] = eventually(lambda: curl(read)["model_id"])
    assert curl(download) is None
    assert curl(predict)["predictions"] == ["setosa"]
    ids["job_…"] = curl(predict_all)["id"]
    assert eventually(lambda: curl(read).get("result"))["dataset_id"]


def test_python_gets_the_same_from_the_bundle(paste):
    out = paste(sys.executable, "-c", block("import chainrule"))
    assert "'predictions': ['setosa']" in out


def test_the_library_trains_without_a_service(tmp_path):
    command = [sys.executable, "-c", block("import Network, fit")]
    done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    epoch, accuracy = done.stdout.split()[-2:]
    assert (epoch, (tmp_path / "net.zip").exists()) == ("20", True)
    assert float(accuracy) > 0.9
