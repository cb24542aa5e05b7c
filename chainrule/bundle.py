"""The bundle: a trained model as one file, the same bytes for the same model, and the way back."""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from chainrule.errors import ChainruleError, CheckpointError, DataError, Problem, step
from chainrule.fingerprint import fingerprint
from chainrule.naming import named, unnamed
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.recipe.inputs import ArrayInputs, read_arrays
from chainrule.spec import ArchitectureSpec, nodes, parse

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.naming import Values

__all__ = ["Model", "load", "save", "weights_safetensors", "write_bundle"]

FORMAT = 1
WEIGHTS, MANIFEST, GOLDEN, EVALUATION, README = (
    "weights.safetensors",
    "manifest.json",
    "golden.npz",
    "evaluation.json",
    "README.md",
)
_GOLDEN_ROWS = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip archive can name
_README = """# A model trained by chainrule

- `weights.safetensors`: the parameters, named and laid out as in Keras; metadata `spec` is the
  architecture.
- `manifest.json`: architecture, recipe (how columns become features), training, metrics,
  certificate (gradients beside central differences), warm start (whose weights it began with),
  checksums.
- `evaluation.json`, of a trained job: what it scores on the rows of each part, beside null models.
- `golden.npz`: a few inputs and the raw outputs that they gave, to check another reader with.

```python
import chainrule  # pip install chainrule
model = chainrule.load("model.zip")
model.predict(rows)  # rows as in the training file, or arrays
```
"""


@dataclass(frozen=True)
class Model:
    """A trained network with what turns raw rows into its inputs, and its outputs into answers."""

    network: Network
    recipe: Recipe | None
    manifest: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None = None

    def predict(self, data: object, batch_size: int | None = None) -> dict[str, Any]:
        """Predict for rows ({column: value} each) or an array of inputs, one prediction per row.

        Several inputs are {array: values}, by the arrays' names in training. Returns:
        {predictions, probabilities?, classes?}, as the API does, of several outputs each {output:
        ...}; raw outputs where the model has no recipe. Of windows there is a prediction for each
        group: {groups, left_out?} say of which, and which have too few rows.
        Raises: DataError, at ``rows[3].age``, ``inputs`` or ``inputs.left``.
        """
        recipe, dtype = self.recipe, self.network.dtype.name
        if recipe is None:
            x, rows = _raw_inputs(self.network, data), None
        else:
            rows = _as_rows(data, table=recipe.takes_rows)
            x = recipe.apply_inputs(data, dtype) if rows is None else recipe.apply_rows(rows, dtype)
        try:
            y = self.network.predict(x, batch_size)
            if recipe is not None:
                told = {} if recipe.window is None or rows is None else recipe.window.told(rows)
                return {**recipe.invert(y), **told}
        except DataError as error:
            raise _located(error, recipe, "inputs" if rows is None else "rows") from None
        several = isinstance(y, dict)
        return {"predictions": {k: v.tolist() for k, v in y.items()} if several else y.tolist()}


def weights_safetensors(net: Network) -> bytes:
    """Return parameters and moving averages as a safetensors file: equal networks, equal bytes.

    There is one metadata key, ``spec``: safetensors writes several in random order.
    """
    views = {**net.parameters, **net.states}
    tensors = {name: np.ascontiguousarray(view) for name, view in views.items()}
    return bytes(save_tensors(tensors, metadata={"spec": _canonical(net.spec.render())}))


def write_bundle(  # noqa: PLR0913 one keyword for each part of the manifest
    net: Network,
    *,
    recipe: Recipe | None = None,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    certificate: Mapping[str, Any] | None = None,
    warm_start: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the bundle; it holds no id, time or path, so that equal jobs give equal bytes.

    ``warm_start`` therefore names the source of the first weights by the hash of its file.
    """
    parts = {WEIGHTS: weights_safetensors(net), GOLDEN: _golden(net)}
    if evaluation is not None:
        parts[EVALUATION] = (_canonical(evaluation) + "\n").encode()
    loss = recipe.loss if recipe else ((training or {}).get("loss") or {}).get("kind")
    manifest = {
        "format": FORMAT,
        "spec": net.spec.render(),
        "precision": net.dtype.name,
        "parameters": int(net.flat.size),
        "recipe": recipe.to_json() if recipe else None,
        "loss": loss,
        "training": dict(training) if training is not None else None,
        "metrics": dict(metrics) if metrics is not None else None,
        "certificate": dict(certificate) if certificate is not None else None,
        "warm_start": dict(warm_start) if warm_start is not None else None,
        "fingerprint": fingerprint(),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return _zip({README: _README.encode(), MANIFEST: text.encode(), **parts})


def save(net: Network, path: str | Path) -> None:
    """Write a network's bundle, without a recipe."""
    Path(path).write_bytes(write_bundle(net))


def load(source: str | Path | bytes) -> Model:
    """Read a bundle.  Raises: CheckpointError, if it is none, or any of its parts has changed."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        parts = _unzip(data)
        manifest = json.loads(parts[MANIFEST])
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"bundle format {manifest['format']}, wanted {FORMAT}")
        for name in sorted({*parts} - {README, MANIFEST}):
            if hashlib.sha256(parts[name]).hexdigest() != manifest["sha256"][name]:
                raise CheckpointError(f"{name} has changed: its checksum is not the manifest's")
        recipe = Recipe.from_json(manifest["recipe"]) if manifest["recipe"] else None
        network = _network(manifest["spec"], manifest["precision"], parts[WEIGHTS])
        evaluation = json.loads(parts[EVALUATION]) if EVALUATION in parts else None
    except CheckpointError:
        raise
    except _MALFORMED as error:
        raise CheckpointError(f"not a bundle: {type(error).__name__}: {error}") from error
    return Model(network, recipe, manifest, evaluation)


_MALFORMED = (
    ChainruleError,
    EOFError,
    KeyError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


def _network(document: Any, precision: str, weights: bytes) -> Network:
    """Build the network and fill it, once the file is known to be of its size."""
    spec = parse(ArchitectureSpec, document)
    tensors = load_tensors(weights)
    wanted = {f"{n.name}.{w.name}": w.shape for n in nodes(spec) for w in n.weights}
    given = {name: tensor.shape for name, tensor in tensors.items()}
    if given != wanted or any(tensor.dtype.name != precision for tensor in tensors.values()):
        raise CheckpointError("the weights are not those of the architecture")
    network = Network(spec, dtype=precision)
    views = {**network.parameters, **network.states}
    for name, tensor in tensors.items():
        views[name][...] = tensor
    return network


def _golden(net: Network) -> bytes:
    """Return a few fixed inputs and their raw outputs; several have their names in the file's."""
    inputs = {}
    for name, shape in net.input_shapes.items():
        size = _GOLDEN_ROWS * math.prod(shape)
        if name in net.vocabularies:
            values = np.arange(size, dtype=np.float64) % net.vocabularies[name]
        else:
            values = np.linspace(-1.0, 1.0, size)
        inputs[name] = values.reshape(_GOLDEN_ROWS, *shape).astype(net.dtype)
    outputs = named(net.predict(unnamed(inputs)), list(net.output_shapes))
    sides = (("inputs", inputs), ("outputs", outputs))
    return _zip(
        {
            f"{side}.npy" if len(arrays) == 1 else f"{side}.{name}.npy": _npy(array)
            for side, arrays in sides
            for name, array in arrays.items()
        }
    )


def _npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _zip(parts: Mapping[str, bytes]) -> bytes:
    """Pack without compression, whose bytes would hang on the version of zlib."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return file.getvalue()


def _unzip(data: bytes) -> dict[str, bytes]:
    """Read a bundle's parts; they are stored as they are, so none is larger than the file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if names - {EVALUATION} != {README, MANIFEST, WEIGHTS, GOLDEN}:
            raise CheckpointError("not a bundle: its parts are other ones")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
            sum(entry.file_size for entry in entries) > len(data)
        ):
            raise CheckpointError("not a bundle: its parts are not stored as they are")
        return {entry.filename: archive.read(entry) for entry in entries}


def _as_rows(data: object, *, table: bool) -> list[Any] | None:
    """Return the data as rows of a table, None if it is an array."""
    if not isinstance(data, list | tuple):
        return None
    return list(data) if table or any(isinstance(row, Mapping) for row in data) else None


def _raw_inputs(net: Network, data: object) -> Values:
    """Return inputs for a network without a recipe.  Raises: DataError, as a recipe does."""
    arrays = {
        name: ArrayInputs(name=name, sample_shape=list(shape))
        for name, shape in net.input_shapes.items()
    }
    if len(arrays) > 1:
        return read_arrays(arrays, data, net.dtype.name)
    return next(iter(arrays.values())).read(data, net.dtype.name)


def _located(error: DataError, recipe: Recipe | None, place: str) -> DataError:
    """Say where in a request the row is that the network complains of as ``[3]`` or ``left[3]``."""
    arrays = recipe.inputs if recipe and isinstance(recipe.inputs, dict) else {}
    rows = recipe is not None and recipe.takes_rows
    problems = []
    for path, detail in ((problem.path, problem.detail) for problem in error.problems):
        name, _, row = path.partition("[")
        if name and rows:  # of an input's columns together
            problems.append(Problem(f"{place}[{row}", detail))
        elif name:
            name = getattr(arrays.get(name), "name", name)
            problems.append(Problem(f"{place}{step(name)}[{row}", detail))
        elif arrays:  # of the row's outputs: the fault is in no one input
            problems.append(Problem(place, f"row {row.rstrip(']')} {detail}"))
        elif recipe and recipe.window:  # of a sequence: no one row is at fault
            problems.append(Problem(place, f"sequence {row.rstrip(']')} {detail}"))
        else:
            problems.append(Problem(place + path, detail))
    return DataError(*problems)


def _canonical(document: Any) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
