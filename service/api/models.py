"""``/v1/models``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import url_for
from pydantic import Field, model_validator

from chainrule.export import InputsOption  # noqa: TC001 (a field's type)
from chainrule.spec import Document
from service.actions import models, predictions
from service.actions.models import FORMATS, Format
from service.actions.requests import PredictionRequest
from service.api.context import parts, tenant
from service.api.downloads import attachment
from service.api.evaluation_views import EvaluationView, evaluated
from service.api.examples import BATCH, PREDICTION
from service.api.idempotency import Once, answered, deleted
from service.api.job_views import queued
from service.api.paging import PageQuery, page
from service.api.schemas import Blueprint, Query, content
from service.api.views import JobView, ModelPage, ModelView, PredictionView, timestamp

if TYPE_CHECKING:
    from flask import Response

    from service.store.tables import Model

__all__ = ["bp"]

bp = Blueprint("models", __name__, url_prefix="/v1/models", tag="Models")

MEDIA_TYPES: dict[Format, tuple[str, str]] = {
    "bundle": ("zip", "application/zip"),
    "safetensors": ("safetensors", "application/octet-stream"),
    "npz": ("npz", "application/x-npz"),
    "onnx": ("onnx", "application/octet-stream"),
}


class DownloadQuery(Query):
    """In which form to download a model."""

    format: Format = "bundle"
    inputs: InputsOption = Field(
        "features",
        description="Of an ONNX file: features as the recipe makes them, or raw columns, with "
        "labels and target units coming out.",
    )


class PredictRequest(Document):
    """Raw rows as in the training file, or inputs as arrays: one of them.

    The inputs of a network that has several are {array: values}, with the names of the training's.
    """

    rows: list[dict[str, float | int | str | bool | None]] | None = Field(None, min_length=1)
    inputs: list[Any] | dict[str, list[Any]] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _has_one(self) -> PredictRequest:
        if (self.rows is None) == (self.inputs is None):
            raise ValueError("give either rows or inputs")
        return self


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="query")
@bp.output(ModelPage)
def list_models(query: PageQuery) -> Any:
    """List the models, newest first."""
    with parts().database.read() as session:
        found = models.list_page(session, tenant(), limit=query.limit, cursor=query.cursor)
    return page(ModelPage, map(model_view, found.items), found.next)


@bp.get("/<mdl:model_id>")
@bp.output(ModelView)
def read_model(model_id: str) -> Any:
    """Read a model: its architecture, what it scored, and how its rows are prepared."""
    with parts().database.read() as session:
        return model_view(models.get(session, tenant(), model_id))


@bp.get("/<mdl:model_id>/evaluation")
@bp.output(EvaluationView)
@bp.doc(responses={304: "It is as If-None-Match says"})
def read_evaluation(model_id: str) -> Any:
    """Read how well a model has learnt, as its job measured it."""
    with parts().database.read() as session:
        found = models.evaluation(session, tenant(), model_id)
    return evaluated(found)


@bp.delete("/<mdl:model_id>")
@bp.output({}, 204)
def delete_model(model_id: str) -> Any:
    """Delete a model.  Jobs that predict with it, or begin with it, go on with its bytes."""
    who, once = tenant(), Once(deleted)
    parts().database.transact(once(lambda uow: models.delete(uow, who, model_id)))
    return once.response


@bp.get("/<mdl:model_id>/download")
@bp.input(DownloadQuery, location="query", arg_name="query")
@bp.doc(responses=content("The file", *(media for _, media in MEDIA_TYPES.values())))
def download_model(model_id: str, query: DownloadQuery) -> Response:
    """Download a model: all of it as a bundle, its weights alone, or its network as ONNX.

    ONNX takes features, or with ``inputs=raw`` a table's columns as they are: 422, if the recipe
    has an encoding that ONNX has no operator for.
    """
    with parts().database.read() as session:
        model = models.get(session, tenant(), model_id)
        data = models.download(session, model, query.format, query.inputs)
    suffix, media_type = MEDIA_TYPES[query.format]
    return attachment(data, name=f"{model.id}.{suffix}", media_type=media_type)


@bp.post("/<mdl:model_id>/predict")
@bp.input(PredictRequest, arg_name="document", example=PREDICTION)
@bp.output(PredictionView)
def predict(model_id: str, document: PredictRequest) -> Any:
    """Predict, one prediction for each row, in order.

    Labels and units are the training file's; the model's own preprocessing is applied. Of a network
    with several outputs each part of the answer is {output: ...}.
    """
    given = "inputs" if document.rows is None else "rows"
    values = getattr(document, given)
    found = models.predict(parts().database, tenant(), model_id, values, given)
    return answered(PredictionView(**found))


@bp.post("/<mdl:model_id>/predictions")
@bp.input(PredictionRequest, arg_name="document", example=BATCH)
@bp.output(JobView, 202)
def create_prediction(model_id: str, document: PredictionRequest) -> Any:
    """Queue a prediction of all rows of a dataset.

    The job's result is another dataset, a row for each row, in order: the class and what is
    probable, or values in the target's units. Columns are found by their names.
    """
    p, once = parts(), Once(queued)
    predictions.submit(
        p.database,
        p.bell,
        p.settings,
        tenant=tenant(),
        model_id=model_id,
        request=document,
        once=once,
    )
    return once.response


def model_view(model: Model) -> ModelView:
    """Return what the API tells of a model."""
    place = url_for("models.read_model", model_id=model.id)
    job = {"job": url_for("jobs.read_job", job_id=model.job_id)} if model.job_id else {}
    return ModelView(
        id=model.id,
        name=model.name,
        job_id=model.job_id,
        spec=model.spec,
        metrics=model.metrics,
        preprocessing=model.recipe,
        sha256=model.weights_sha256,
        fingerprint=model.fingerprint,
        formats=list(FORMATS),
        bytes=model.bytes,
        created_at=timestamp(model.created_at) or "",
        links={
            "self": place,
            "download": f"{place}/download",
            "evaluation": f"{place}/evaluation",
            "predict": f"{place}/predict",
            "predictions": f"{place}/predictions",
            **job,
        },
    )
