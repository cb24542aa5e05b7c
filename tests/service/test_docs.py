"""The documents under docs/ and the examples of /docs say what the code takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import service
from chainrule.losses import LOSSES
from chainrule.optimizers import OPTIMIZERS
from chainrule.schedules import SCHEDULES
from chainrule.spec import (
    KINDS,
    ArchitectureSpec,
    DataSpec,
    PreprocessingSpec,
    TrainingSpec,
    complete,
    nodes,
    parse,
)
from chainrule.spec.layers import ACTIVATIONS, INITIALIZERS
from chainrule.spec.training import ClipSpec, EarlyStoppingSpec
from service.actions.requests import JobRequest, PredictionRequest
from service.api.models import PredictRequest
from service.api.views import PredictionView
from service.parsing.json_arrays import read_json

DOCS = Path(service.__path__[0]).parent / "docs"
BLOCK = re.compile(r"(?:<!-- (\w+) -->\n)?```json\n(.*?)```", re.DOTALL)
READERS = {
    "answer": PredictionView.model_validate_json,
    "architecture": lambda text: parse(ArchitectureSpec, text),
    "batch": lambda text: parse(PredictionRequest, text),
    "data": lambda text: parse(DataSpec, text),
    "dataset": lambda text: read_json(text.encode()),
    "job": lambda text: parse(JobRequest, text),
    "training": lambda text: parse(TrainingSpec, text),
    "prediction": lambda text: parse(PredictRequest, text),
}


EXAMPLES = [
    pytest.param(mark, text, id=f"{name}-{number}")
    for name in ("architectures.md", "data.md", "recipe.md")
    for number, (mark, text) in enumerate(BLOCK.findall((DOCS / name).read_text()), 1)
]


@pytest.mark.parametrize(("mark", "text"), EXAMPLES)
def test_every_json_example_says_what_it_is_and_is_good(mark, text):
    assert READERS[mark](text)


@pytest.mark.parametrize(("mark", "text"), EXAMPLES)
def test_the_layers_of_every_example_fit_together(mark, text):
    document = json.loads(text)
    architecture = document if mark == "architecture" else document.get("architecture")
    if architecture is not None:
        spec = parse(ArchitectureSpec, architecture)
        shape = spec.input_shapes if spec.input or spec.inputs else (4,)
        sizes = dict.fromkeys(shape if isinstance(shape, dict) else [""], 5)
        assert nodes(complete(spec, shape, dict.fromkeys(spec.output_names, 3), sizes))


def test_every_word_of_the_architecture_language_is_documented():
    text = (DOCS / "architectures.md").read_text()
    words = {*KINDS, *ACTIVATIONS, *INITIALIZERS, *LOSSES, *OPTIMIZERS, *SCHEDULES}
    words |= {*ArchitectureSpec.model_fields, *TrainingSpec.model_fields}
    words |= {*ClipSpec.model_fields, *EarlyStoppingSpec.model_fields}
    assert sorted(word for word in words if f"`{word}`" not in text) == []


def test_every_word_of_the_recipe_is_documented():
    text = (DOCS / "recipe.md").read_text() + (DOCS / "data.md").read_text()
    document = DataSpec.model_json_schema()
    words = {*PreprocessingSpec.model_fields}
    for name, definition in document["$defs"].items():
        if "Split" in name or name.startswith(("Number", "Category", "Datetime", "Rare")):
            words |= {*definition["properties"]}
        for found in definition.get("properties", {}).values():
            words |= {*found.get("enum", []), *([found["const"]] if "const" in found else [])}
    assert sorted(word for word in words if f"`{word}`" not in text) == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/jobs", JobRequest),
        ("/v1/architectures", ArchitectureSpec),
        ("/v1/models/{model_id}/predict", PredictRequest),
        ("/v1/models/{model_id}/predictions", PredictionRequest),
    ],
)
def test_the_reference_shows_a_good_request(api, path, kind):
    document = api.get("/v1/openapi.json", key=None).json
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert parse(kind, body["example"])
