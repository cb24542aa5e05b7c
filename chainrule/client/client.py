"""The service, from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.client.payload import NPZ, content_type, document, format_of, npz, table
from chainrule.client.resources import Dataset, Job, Model
from chainrule.client.transport import Transport
from chainrule.client.uploading import PARTS_FROM_BYTES, send, send_parts
from chainrule.config import ClientConfig, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from numpy.typing import ArrayLike

    from chainrule.client.payload import Pandas, Polars
    from chainrule.spec import Document

    Specification = Document | Mapping[str, Any] | str

__all__ = ["Client"]


class Client:
    """A client of one chainrule service.

    Without arguments it looks where the ``CHAINRULE_*`` variables say, which by default is the
    service of ``chainrule up`` on this machine, key included.

        client = chainrule.Client()
        dataset = client.upload("iris.csv")
        hidden = {"kind": "dense", "units": 16, "activation": "relu"}
        network = {"layers": [hidden, {"kind": "dense", "units": "auto"}]}
        job = client.train(dataset, network, {"epochs": 60}, data={"target": "species"})
        job.wait()
        job.predict([{"sepal_length": 5.1, ...}])
    """

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        config = ClientConfig.from_env(environment())
        self.url = (url or config.url).rstrip("/")
        # The key found in the data directory belongs to this machine's service: no other gets it.
        known = config.find_key() if self.url == config.url else config.api_key
        self._transport = Transport(self.url, key or known)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client may not be used afterwards."""
        self._transport.close()

    def upload(
        self,
        data: str | Path | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike] | Polars | Pandas,
        *,
        name: str | None = None,
        types: Mapping[str, str] | None = None,
        on_progress: Callable[[str, float], object] = lambda _what, _share: None,
    ) -> Dataset:
        """Upload a file (also packed as ``.gz``), a DataFrame of polars or pandas, or arrays.

        Arrays come by name, or as a pair of inputs and targets.

        ``types`` says what columns are, in the place of what their values suggest, as
        ``{"zip": "categorical"}``. The same content again returns the dataset that is there.
        A large file goes in parts: called again after any failure, this sends what is missing.
        ``on_progress`` hears ``("upload", 0.5)`` and, where a job parses, ``("parsing", 0.5)``.
        Raises: ApiError 422, if the file cannot be read, naming the place.
        """
        content: Path | bytes
        if isinstance(data, str | Path):
            content = Path(data)
            kind, name = content_type(content), name or content.name
        elif (found := table(data)) is not None:
            content, kind = found
        else:
            content, kind = npz(data), NPZ  # type: ignore[arg-type]  # what is none is refused
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if size >= PARTS_FROM_BYTES:
            named = {"name": name} if name else {}
            request = {**named, "format": format_of(kind), "types": dict(types or {})}
            view = send_parts(self._transport, content, request, on_progress)
        else:
            query = {"name": name, "types": json.dumps(dict(types)) if types else None}
            given = {key: value for key, value in query.items() if value}
            view = send(self._transport, content, kind, given)
        return Dataset(self._transport, view).wait(lambda share: on_progress("parsing", share))

    def train(
        self,
        dataset: Dataset | Path | str,
        architecture: Specification,
        training: Specification | None = None,
        *,
        data: Specification | None = None,
        name: str | None = None,
    ) -> Job:
        """Queue a training job and return at once, or once its dataset is parsed.

        ``dataset`` is an uploaded dataset, its id, or a file to upload; ``architecture`` a
        specification (a mapping, JSON text or an ``ArchitectureSpec``) or the id of a stored one
        (``arch_...``); ``training`` and ``data`` are the parts of those names of ``POST /v1/jobs``.
        Raises: ApiError 422, stating the place of everything that does not add up.
        """
        is_id = isinstance(dataset, str) and dataset.startswith("ds_")
        if isinstance(dataset, Path) or (
            isinstance(dataset, str) and not is_id and Path(dataset).is_file()
        ):
            dataset = self.upload(dataset)
        elif is_id:
            dataset = self.dataset(str(dataset))
        if isinstance(dataset, Dataset):
            dataset.wait()
        request: dict[str, Any] = {
            "dataset_id": dataset.id if isinstance(dataset, Dataset) else dataset
        }
        if isinstance(architecture, str) and architecture.startswith("arch_"):
            request["architecture_id"] = architecture
        else:
            request["architecture"] = document(architecture)
        for part, value in (("data", data), ("training", training)):
            if value is not None:
                request[part] = document(value)
        if name is not None:
            request["name"] = name
        return Job(self._transport, self._transport.json("POST", "/v1/jobs", json=request))

    def job(self, job_id: str) -> Job:
        """Return a job."""
        return Job(self._transport, self._transport.json("GET", f"/v1/jobs/{job_id}"))

    def jobs(self, **filters: str) -> Iterator[Job]:
        """Yield the jobs, newest first; ``filters`` are ``state``, ``name`` and ``dataset_id``."""
        for view in self._items("/v1/jobs", filters):
            yield Job(self._transport, view)

    def dataset(self, dataset_id: str) -> Dataset:
        """Return a dataset."""
        view = self._transport.json("GET", f"/v1/datasets/{dataset_id}")
        return Dataset(self._transport, view)

    def model(self, model_id: str) -> Model:
        """Return a trained model."""
        return Model(self._transport, self._transport.json("GET", f"/v1/models/{model_id}"))

    def models(self) -> Iterator[Model]:
        """Yield the models, newest first."""
        for view in self._items("/v1/models", {}):
            yield Model(self._transport, view)

    def system(self) -> dict[str, Any]:
        """Return the service's versions, kernels and numeric fingerprint."""
        return self._transport.json("GET", "/v1/system")

    def readiness(self) -> dict[str, Any]:
        """Return ``{database, broker, worker}``: each ``ok``, or why not."""
        return self._transport.json("GET", "/readyz")

    def _items(self, path: str, filters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, page after page."""
        params = {"limit": "100", **filters}
        while True:
            page = self._transport.json("GET", path, params=params)
            yield from page["items"]
            if not page.get("next"):
                return
            params["cursor"] = str(page["next"])
