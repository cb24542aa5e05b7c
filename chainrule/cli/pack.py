"""``chainrule pack``: several files as one NPZ file to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import rich.progress
from rich.markup import escape

from chainrule.cli import images
from chainrule.cli.packing import read_arrays, write_npz
from chainrule.cli.shared import Session, json_option
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["pack"]

T = TypeVar("T")
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


@pack.command("images")
@click.argument(
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@output_option
@click.option("--size", metavar="HxW", callback=images.read_size, help="Scale all to this size.")
@click.option("--grayscale", is_flag=True, help="One channel in the place of three.")
@json_option
def pack_images(
    folder: Path, output: Path, size: tuple[int, int] | None, grayscale: bool, as_json: bool
) -> None:
    """Pack the images in DIR (PNG, JPEG, BMP, GIF, TIFF, WebP): its subfolders are the classes.

    \b
      chainrule pack images photos -o photos.npz --size 64x64
      chainrule train photos.npz --layers "flatten, 128 relu"

    Classes are numbered in the order of their names, which go into PATH.npz.classes.json.
    """  # noqa: D301 click wants the backspace
    session = Session(as_json=as_json)
    found = images.find(folder)

    def track(paths: Iterable[T]) -> Iterable[T]:
        total, hidden = len(found.images), as_json or not session.err.is_terminal
        bar = {"total": total, "console": session.err, "transient": True, "disable": hidden}
        return rich.progress.track(paths, "reading", **bar)  # type: ignore[arg-type]

    shape = images.pack(found, output, size=size, grayscale=grayscale, track=track)
    if as_json:
        arrays = {"inputs": list(shape), "targets": [shape[0]]}
        session.answer({"path": str(output), "arrays": arrays, "classes": found.classes})
    classes = ", ".join(f"{number} {name}" for number, name in enumerate(found.classes))
    session.say(f"packed {escape(str(output))}: inputs {shape}, classes {escape(classes)}")


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
    session.say(f"packed {escape(str(output))}: {told}")
