"""What ``chainrule predict`` says of a FILE that it does not read by itself."""

import pytest

from chainrule.cli.rows import read_rows
from chainrule.errors import DataError


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("rows.csv", "city;x\nKöln;1,5\n", "rows[0]: must have 1 fields between commas"),
        ("rows.csv", "city,x\nKöln,1\n", "the CSV is not UTF-8"),
        ("rows.csv.gz", "packed", "a FILE is CSV, JSON or NPZ, not .gz"),
        ("rows.ndjson", '{"x": 1}\n', "a FILE is CSV, JSON or NPZ, not .ndjson"),
    ],
)
def test_what_is_no_plain_csv_is_referred_to_the_service(tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8" if ";" in content else "cp1252"))
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert str(caught.value) == (
        f"{complaint}; other files are read as datasets: --dataset FILE --output OUT"
    )
