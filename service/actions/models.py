"""Models: the trained networks, to download or to predict with."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sqlalchemy import bindparam, select

from chainrule import bundle
from chainrule.errors import DataError, Problem
from chainrule.export import InputsOption, to_onnx
from service.actions.cache import Cache
from service.actions.paging import Page, newest
from service.errors import NotFoundError
from service.store import blobs, transitions
from service.store.tables import Model

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.store.database import Database, UnitOfWork

__all__ = ["FORMATS", "Format", "delete", "download", "evaluation", "get", "list_page", "predict"]

Format = Literal["bundle", "safetensors", "npz", "onnx"]
FORMATS: tuple[Format, ...] = ("bundle", "safetensors", "npz", "onnx")
_BUNDLE = select(Model.bundle).where(
    Model.id == bindparam("model_id"), Model.tenant_id == bindparam("tenant")
)
_GIVEN = re.compile(r"^(rows|inputs)(?![^.\[])")  # the first step of a place, and not of "inputs_2"
_loaded: Cache[bundle.Model] = Cache(max_bytes=256 * 2**20)


def get(session: Session, tenant: str, model_id: str) -> Model:
    """Return one.  Raises: NotFoundError."""
    owned = (Model.id == model_id, Model.tenant_id == tenant)
    row = session.scalar(select(Model).where(*owned))
    if row is None:
        raise NotFoundError("model", model_id)
    return row


def delete(uow: UnitOfWork, tenant: str, model_id: str) -> None:
    """Delete one (T12).  Raises: NotFoundError."""
    if not uow.once(transitions.delete_model(uow.session, model_id, tenant)):
        raise NotFoundError("model", model_id)


def list_page(
    session: Session, tenant: str, *, limit: int = 20, cursor: str | None = None
) -> Page[Model]:
    """Return a page, newest first."""
    return newest(session, Model, [Model.tenant_id == tenant], limit, cursor)


def evaluation(session: Session, tenant: str, model_id: str) -> dict[str, Any]:
    """Return how well a model has learnt.

    Raises: NotFoundError, also of a model of a version that did not measure it.
    """
    owned = (Model.id == model_id, Model.tenant_id == tenant)
    row = session.execute(select(Model.evaluation).where(*owned)).first()
    if row is None:
        raise NotFoundError("model", model_id)
    if row.evaluation is None:
        raise NotFoundError("evaluation", f"of model {model_id}")
    return dict(row.evaluation)


def download(
    session: Session,
    model: Model,
    format: Format = "bundle",  # noqa: A002
    inputs: InputsOption = "features",
) -> bytes:
    """Return a model as a file, the same bytes every time; ``inputs`` are those of an ONNX file.

    Raises: CorruptError; SpecError at ``inputs``, if the recipe cannot be written in ONNX.
    """
    data = blobs.read(session, model.bundle)
    if format == "bundle":
        return data
    if format == "safetensors":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read("weights.safetensors")
    loaded = bundle.load(data)
    if format == "onnx":
        return to_onnx(loaded.network, recipe=loaded.recipe, inputs=inputs)
    file = io.BytesIO()
    parameters: dict[str, Any] = dict(loaded.network.parameters)
    np.savez(file, **parameters)
    return file.getvalue()


def predict(
    database: Database, tenant: str, model_id: str, inputs: Any, given: str = "inputs"
) -> dict[str, Any]:
    """Predict for raw rows ({column: value} each), for an array of inputs, or {array: values}.

    ``given`` is what the request calls them, the place of what is wrong with them.

    A model in use costs the database one row, which says that it is still there.
    Returns: {predictions, probabilities?, classes?}.
    Raises: NotFoundError; CorruptError; DataError, at row and column.
    """
    row = database.glance(_BUNDLE, tenant=tenant, model_id=model_id)
    if row is None:
        raise NotFoundError("model", model_id)
    (sha256,) = row

    def load() -> tuple[bundle.Model, int]:
        with database.read() as session:
            data = blobs.read(session, sha256)
        return bundle.load(data), len(data)

    try:
        answer: dict[str, Any] = _loaded.get(sha256, load).predict(inputs)
    except DataError as error:
        places = [_GIVEN.sub(given, problem.path) for problem in error.problems]
        problems = zip(places, error.problems, strict=True)
        raise DataError(*(Problem(place, one.detail) for place, one in problems)) from None
    return answer
