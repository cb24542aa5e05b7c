"""Models: the trained networks, to download or to predict with."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sqlalchemy import select

from chainrule import bundle
from chainrule.export import to_onnx
from service.actions.cache import Cache
from service.actions.paging import Page, newest
from service.errors import NotFoundError
from service.store import blobs
from service.store.tables import Model

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["FORMATS", "Format", "download", "get", "list_page", "predict"]

Format = Literal["bundle", "safetensors", "npz", "onnx"]
FORMATS: tuple[Format, ...] = ("bundle", "safetensors", "npz", "onnx")
_loaded: Cache[bundle.Model] = Cache(max_bytes=256 * 2**20)


def get(session: Session, tenant: str, model_id: str) -> Model:
    """Return one.  Raises: NotFoundError."""
    owned = (Model.id == model_id, Model.tenant_id == tenant)
    row = session.scalar(select(Model).where(*owned))
    if row is None:
        raise NotFoundError("model", model_id)
    return row


def list_page(
    session: Session, tenant: str, *, limit: int = 20, cursor: str | None = None
) -> Page[Model]:
    """Return a page, newest first."""
    return newest(session, Model, [Model.tenant_id == tenant], limit, cursor)


def download(session: Session, model: Model, format: Format = "bundle") -> bytes:  # noqa: A002
    """Return a model as a file, the same bytes every time.  Raises: CorruptError."""
    data = blobs.read(session, model.bundle)
    if format == "bundle":
        return data
    if format == "safetensors":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read("weights.safetensors")
    loaded = bundle.load(data)
    if format == "onnx":
        return to_onnx(loaded.network, recipe=loaded.recipe)
    file = io.BytesIO()
    parameters: dict[str, Any] = dict(loaded.network.parameters)
    np.savez(file, **parameters)
    return file.getvalue()


def predict(session: Session, model: Model, inputs: Any) -> dict[str, Any]:
    """Predict for raw rows ({column: value} each), for an array of inputs, or {array: values}.

    Returns: {predictions, probabilities?, classes?}.  Raises: DataError, at row and column.
    """

    def read() -> tuple[bundle.Model, int]:
        data = blobs.read(session, model.bundle)
        return bundle.load(data), len(data)

    answer: dict[str, Any] = _loaded.get(model.bundle, read).predict(inputs)
    return answer
