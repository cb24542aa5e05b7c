"""Tables for tests: through the service's own parser of files, as a job would meet them."""

from __future__ import annotations

import csv
import io
import math

import numpy as np

from chainrule.recipe.values import is_datetime, read_datetime
from service.parsing.table import read_csv

__all__ = ["parsed", "written"]


def written(columns):
    """Return columns, None where a value is missing, as a CSV file."""
    file = io.StringIO(newline="")
    out = csv.writer(file, lineterminator="\n")
    out.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        out.writerow(["" if cell is None else cell for cell in row])
    if len(columns) == 1:  # an empty line is no row
        return file.getvalue().replace("\n\n", '\n""\n').encode()
    return file.getvalue().encode()


def parsed(columns):
    """Return tensors and schema of columns, by the parser of files; of dates as ``datetime``.

    A parser that has no type for dates gives words, which are read here as the grammar says.
    """
    schema, tensors = read_csv(written(columns))
    tensors = dict(tensors)
    for column in schema["columns"]:
        name, words = column["name"], column.get("categories", [])
        if words and all(map(is_datetime, words)):
            seconds = np.array([*map(read_datetime, words), math.nan])
            tensors[name] = seconds[tensors[name]]
            column["type"] = "datetime"
            del column["categories"]
    return tensors, schema
