"""Tables for tests: through the service's own reader of files, as a job would meet them."""

from __future__ import annotations

import csv
import io

from tests.table_files import read_csv

__all__ = ["parsed", "written"]


def written(columns):
    """Return columns, None where a value is missing, as a CSV file."""
    file = io.StringIO(newline="")
    out = csv.writer(file, lineterminator="\n")
    out.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        out.writerow(["NA" if cell is None else cell for cell in row])
    return file.getvalue().encode()


def parsed(columns):
    """Return tensors and schema of columns."""
    schema, tensors = read_csv(written(columns))
    return dict(tensors), schema
