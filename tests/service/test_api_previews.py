"""Previews, types that are given, and statistics: what a client sees of a dataset's values."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from sqlalchemy import update

from service.store.tables import Chunk
from tests.api_testing import flowers

TABLE = b"""age,zip,name,born,score
31,01234,ann,2001-02-03,1.5
,99999,bob,1999-12-31 23:59:30,
45,01234,,,-2
"""


def upload(api, data=TABLE, **types):
    query = {"types": json.dumps(types)} if types else {}
    answer = api.upload(data, **query)
    assert answer.status_code in (200, 201), answer.text
    return answer.json


def preview(api, view, rows=10):
    answer = api.get(f"{view['links']['preview']}?rows={rows}")
    assert answer.status_code == 200, answer.text
    return answer.json


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_rows_of_a_table_are_shown_as_they_were_read(api):
    view = upload(api, zip="categorical")
    assert preview(api, view) == {
        "rows": [
            {"age": 31, "zip": "01234", "name": "ann", "born": "2001-02-03T00:00:00Z",
             "score": 1.5},
            {"age": None, "zip": "99999", "name": "bob", "born": "1999-12-31T23:59:30Z",
             "score": None},
            {"age": 45, "zip": "01234", "name": None, "born": None, "score": -2},
        ]
    }  # fmt: skip
    assert len(preview(api, view, 2)["rows"]) == 2


def test_a_preview_of_many_rows_reads_the_first_of_every_column(api):
    rows = 40_000  # of three columns of 8 bytes: none begins in the chunk of another
    lines = "".join(f"{n},{n / 2},{-n}\n" for n in range(rows))
    view = upload(api, f"a,b,c\n{lines}".encode())
    found = preview(api, view, 1000)["rows"]
    assert found == [{"a": n, "b": n / 2, "c": -n} for n in range(1000)]


def test_rows_of_arrays_are_shown_as_far_as_there_is_room(api):
    x = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    x[0, 0, 0] = np.nan
    view = api.upload(npz(x=x, y=np.arange(5)), "application/x-npz").json
    found = preview(api, view, 2)["arrays"]
    assert [(one["name"], one["shape"], one["dtype"]) for one in found] == [
        ("x", [5, 3, 4], "float32"),
        ("y", [5], "int64"),
    ]
    expected = x[:2].tolist()
    expected[0][0][0] = None
    assert found[0]["rows"] == expected
    assert found[1]["rows"] == [0, 1]
    wide = api.upload(npz(x=np.zeros((3, 300, 400), np.uint8)), "application/x-npz").json
    assert np.shape(preview(api, wide, 3)["arrays"][0]["rows"]) == (1, 300, 400)


def test_too_many_values_are_refused_with_what_there_is_room_for(api):
    names = ",".join(f"c{n}" for n in range(1000))
    view = upload(api, f"{names}\n{','.join('1' * 1000)}\n".encode() * 1)
    assert len(preview(api, view, 1000)["rows"]) == 1
    lines = (",".join("1" * 1000) + "\n") * 300
    view = upload(api, f"{names}\n{lines}".encode())
    answer = api.get(f"{view['links']['preview']}?rows=300")
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/rows")
    assert "ask for 200 at most" in answer.json["detail"]
    for rows in (0, 1001, "x"):
        assert api.get(f"{view['links']['preview']}?rows={rows}").status_code == 422


def test_damage_is_no_preview(api):
    view = upload(api)
    damage = update(Chunk).values(data=b"x")
    api.database.transact(lambda uow: uow.session.execute(damage))
    assert api.get(view["links"]["preview"]).status_code == 500


def test_the_same_bytes_with_other_types_are_another_dataset(api):
    plain, typed = upload(api), upload(api, zip="categorical")
    assert plain["types"] == {}
    assert typed["types"] == {"zip": "categorical"}
    assert plain["id"] != typed["id"]
    assert plain["sha256"] == typed["sha256"]
    assert upload(api, zip="categorical")["id"] == typed["id"]
    assert upload(api)["id"] == plain["id"]
    two = upload(api, zip="categorical", score="number")
    query = {"types": '{"score":"number", "zip": "categorical"}'}
    assert api.upload(TABLE, **query).json["id"] == two["id"]
    kinds = {column["name"]: column["type"] for column in typed["columns"]}
    assert (kinds["zip"], kinds["age"], kinds["born"]) == ("categorical", "integer", "datetime")


@pytest.mark.parametrize(
    ("types", "status", "pointer"),
    [
        ("{", 400, None),
        ("[]", 422, "/types"),
        ('{"zip": "postcode"}', 422, "/types/zip"),
        ('{"zip": 3}', 422, "/types/zip"),
        ('{"": "text"}', 422, None),
        ('{"nowhere": "text"}', 422, "/types/nowhere"),
        ('{"name": "number"}', 422, None),
    ],
)
def test_types_that_cannot_be_are_refused(api, types, status, pointer):
    answer = api.upload(TABLE, types=types)
    assert answer.status_code == status, answer.text
    if pointer:
        assert answer.json["errors"][0]["pointer"] == pointer
    assert api.row_counts()["datasets"] == 0


def test_a_column_is_described_by_its_statistics(api):
    data = flowers()
    view = upload(api, data)
    columns = {column["name"]: column for column in view["columns"]}
    lengths = np.array([float(line.split(b",")[0]) for line in data.splitlines()[1:]])
    length = columns["length"]
    assert length["std"] == pytest.approx(lengths.std())
    edges, counts = length["histogram"]["edges"], length["histogram"]["counts"]
    assert counts == np.histogram(lengths, edges)[0].tolist()
    assert sum(counts) == 60
    # by words: two kinds of three are blue
    assert columns["colour"]["counts"] == {"blue": 40, "white": 20}
    assert list(columns["colour"]["counts"]) == ["blue", "white"]
    assert "categories" not in columns["colour"]
    (listed,) = api.get("/v1/datasets").json["items"]
    assert all("histogram" not in c and "counts" not in c for c in listed["columns"])
    assert listed["columns"][0]["std"] == length["std"]
    born = {c["name"]: c for c in upload(api)["columns"]}["born"]
    assert (born["min"], born["max"]) == ("1999-12-31T23:59:30Z", "2001-02-03T00:00:00Z")
