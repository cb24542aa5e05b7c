"""A folder of images, its subfolders the classes, as one NPZ file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.cli.packing import new_npz
from chainrule.errors import ClientError, DataError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    Array = np.ndarray[Any, Any]

__all__ = ["Folder", "find", "pack", "read_size"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Folder:
    """The images of a folder: their paths, and the number of the class that each is of."""

    path: Path
    classes: list[str]
    images: list[tuple[Path, int]]


def find(path: Path) -> Folder:
    """Look through a folder: the names of its subfolders, in order, are the classes.

    Raises: DataError at the folder, if there are none, or one has no image.
    """
    folders = sorted(child for child in path.iterdir() if child.is_dir())
    images: list[tuple[Path, int]] = []
    for number, folder in enumerate(folders):
        found = sorted(one for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError.at(str(folder), "has no images")
        images += [(one, number) for one in found]
    if not images:
        raise DataError.at(str(path), "has no subfolders: each class of images is one")
    return Folder(path, [folder.name for folder in folders], images)


def pack(
    folder: Folder,
    output: Path,
    *,
    size: tuple[int, int] | None,
    grayscale: bool,
    track: Callable[[Iterable[tuple[Path, int]]], Iterable[tuple[Path, int]]] = iter,
) -> tuple[int, ...]:
    """Write ``inputs`` (images, height, width, channels), bytes, and ``targets``, class numbers.

    Without a size all images must have the same. ``track`` sees each image go by. The names of the
    classes go beside, into ``<output>.classes.json``.  Returns: the shape of ``inputs``.
    Raises: DataError, at each image that cannot be read; ClientError, if Pillow is missing.
    """
    mode = "L" if grayscale else "RGB"
    first = size or _read(folder.images[0][0], None, mode, None).shape[:2]
    shape = (len(folder.images), *first, len(mode))
    problems: list[Problem] = []

    def rows() -> Iterator[Array]:
        for path, _ in track(folder.images):
            try:
                yield _read(path, size, mode, first)
            except DataError as error:
                problems.extend(error.problems)
                if len(problems) >= MAX_PROBLEMS:
                    break
        if problems:
            raise DataError(*problems)

    with new_npz(output) as writer:
        writer.add_rows("inputs", shape, rows())
        writer.add("targets", np.array([number for _, number in folder.images], np.int32))
    names = output.with_name(output.name + ".classes.json")
    names.write_text(json.dumps({"classes": folder.classes}, ensure_ascii=False) + "\n", "utf-8")
    return shape


def read_size(_context: object, _parameter: object, text: str | None) -> tuple[int, int] | None:
    """Read ``HxW``, as an option of a command."""
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise click.BadParameter(f"must be HxW in pixels, such as 64x48, got {text!r}")
    return int(height), int(width)


def _read(
    path: Path, size: tuple[int, int] | None, mode: str, wanted: tuple[int, ...] | None
) -> Array:
    """Return an image as (height, width, channels).  Raises: DataError at its path."""
    try:
        from PIL import Image, ImageOps  # noqa: PLC0415 an extra that nothing else needs
    except ModuleNotFoundError as error:
        message = "images are read by Pillow: pip install 'chainrule[images]'"
        raise ClientError(message) from error
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert(mode)  # upright, as viewers show it
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError.at(str(path), f"cannot be read: {error}") from None
    if size is not None:
        image = image.resize((size[1], size[0]))
    pixels: Array = np.asarray(image, np.uint8).reshape(image.height, image.width, len(mode))
    if wanted is not None and pixels.shape[:2] != tuple(wanted):
        detail = f"is {image.height}x{image.width}, the first image {wanted[0]}x{wanted[1]}"
        raise DataError.at(str(path), f"{detail}: give --size HxW")
    return pixels
