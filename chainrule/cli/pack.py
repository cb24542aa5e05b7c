"""``chainrule pack``: several files as one NPZ file to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.packing import read_arrays, write_npz
from chainrule.cli.shared import Session, json_option
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["pack"]

NAMES = ("inputs", "targets")
output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="PATH.npz",
    help="The file to write.",
)


@click.group()
def pack() -> None:
    """Make one NPZ file to train on out of several files.  No service is needed."""


@pack.command("arrays")
@click.argument("files", nargs=-1, required=True, metavar="[NAME=]FILE...")
@output_option
@json_option
def pack_arrays(files: tuple[str, ...], output: Path, as_json: bool) -> None:
    """Pack the arrays of FILES: IDX (such as MNIST's), NPY or NPZ, each also as .gz.

    \b
      chainrule pack arrays train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz -o mnist.npz
      chainrule train mnist.npz --layers "flatten, 128 relu"

    The first file without a name is called inputs, the second targets. The arrays of an NPZ keep
    the names that they have.
    """  # noqa: D301 click wants the backspace
    arrays: dict[str, Array] = {}
    unnamed = iter(NAMES)
    for given in files:
        name, path = _named(given)
        for own, array in read_arrays(path).items():
            key = own or name or next(unnamed, "")
            if not key:
                raise click.UsageError(f"more than two arrays need names: NAME={path}")
            if key in arrays:
                raise DataError.at(str(path), f"there is another array {key!r}")
            arrays[key] = array
    write_npz(output, arrays)
    _tell(Session(as_json=as_json), output, arrays)


def _named(given: str) -> tuple[str, Path]:
    """Read ``NAME=FILE`` or ``FILE``."""
    name, equals, file = given.partition("=")
    path = Path(file) if equals and not Path(given).exists() else Path(given)
    if not path.is_file():
        raise click.BadParameter(f"there is no file {str(path)!r}", param_hint="FILE")
    return (name if path != Path(given) else ""), path


def _tell(session: Session, output: Path, arrays: Mapping[str, Array]) -> None:
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    if session.as_json:
        session.answer({"path": str(output), "arrays": shapes})
    told = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    session.say(f"packed {output}: {told}")
