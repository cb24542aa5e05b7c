import io
import json

import numpy as np
import polars as pl
import pytest

from chainrule.client.payload import (
    MAX_PIECE_BYTES,
    content_type,
    document,
    named_pieces,
    npz,
    pieces,
    table,
)
from chainrule.client.resources import Model
from chainrule.errors import ClientError, DataError
from chainrule.spec import TrainingSpec


def test_the_same_arrays_pack_to_the_same_bytes():
    x, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])
    assert npz((x, y)) == npz({"inputs": x, "targets": y})


def test_a_pair_of_arrays_is_packed_as_inputs_and_targets():
    with np.load(io.BytesIO(npz(([[1.0, 2.0]], [3])))) as file:
        assert sorted(file.files) == ["inputs", "targets"]
        assert file["inputs"].tolist() == [[1.0, 2.0]]


def test_arrays_of_objects_are_refused_by_name():
    with pytest.raises(DataError, match="labels: must hold numbers"):
        npz({"labels": np.array(["a", None], dtype=object)})


def test_a_frame_of_polars_is_sent_as_parquet_and_one_of_pandas_as_csv():
    frame = pl.DataFrame({"x": [1.5, None], "city": ["Köln", "Ulm"]})
    data, kind = table(frame)
    assert kind == "application/vnd.apache.parquet"
    assert pl.read_parquet(io.BytesIO(data)).equals(frame)

    class Pandas:
        def to_csv(self, *, index):
            assert not index
            return "x,city\n1.5,Köln\n"

    assert table(Pandas()) == ("x,city\n1.5,Köln\n".encode(), "text/csv")
    assert table({"x": [1]}) is None


@pytest.mark.parametrize("given", [[1, 2], ([1], [2], [3]), 7])
def test_what_cannot_be_uploaded_is_told_what_can(given):
    with pytest.raises(ClientError, match=r"must be a file, a DataFrame, .* got a \w+$"):
        npz(given)


def test_a_file_of_an_unknown_kind_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ClientError, match=r"\.json, \.npz, \.npy, \.idx, or that and \.gz"):
        content_type(tmp_path / "notes.docx")


def test_a_specification_may_be_a_value_a_mapping_or_json():
    assert document({"epochs": 3}) == document('{"epochs": 3}') == {"epochs": 3}
    assert document(TrainingSpec(epochs=3))["epochs"] == 3


def test_a_bare_list_of_layers_is_told_what_it_lacks():
    with pytest.raises(ClientError, match=r'object such as \{"layers": \[...\]\}, got a list'):
        document([{"kind": "dense", "units": 3}])


@pytest.mark.parametrize("text", ["{", "[1]", "digits"])
def test_text_that_is_no_json_object_is_refused(text):
    with pytest.raises(ClientError, match="JSON"):
        document(text)


def test_many_rows_go_in_several_requests_in_order_none_too_large():
    rows = [{"text": "x" * 1000, "index": i} for i in range(3000)]
    starts, bodies = zip(*pieces("rows", rows), strict=True)
    assert len(bodies) > 3
    assert all(len(body) <= MAX_PIECE_BYTES + 100 for body in bodies)
    assert [row for body in bodies for row in json.loads(body)["rows"]] == rows
    assert [json.loads(body)["rows"][0]["index"] for body in bodies] == list(starts)


def test_no_rows_are_one_request_so_that_the_service_can_object():
    assert list(pieces("rows", [])) == [(0, b'{"rows":[]}')]


def test_a_row_with_nan_is_refused_with_its_place():
    with pytest.raises(DataError, match=r"rows\[1\]: must hold finite numbers"):
        list(pieces("rows", [{"a": 1.0}, {"a": float("nan")}]))


def test_numpys_numbers_and_arrays_go_as_plain_json():
    rows = [{"a": np.float32(0.5), "b": np.int64(3)}, np.arange(2.0)]
    ((_, body),) = pieces("rows", rows)
    assert json.loads(body) == {"rows": [{"a": 0.5, "b": 3}, [0.0, 1.0]]}
    with pytest.raises(DataError, match=r"rows\[0\]: must be plain JSON: object is neither"):
        list(pieces("rows", [object()]))


def test_rows_of_several_arrays_go_together_none_too_large():
    arrays = {"left": [["x" * 700, i] for i in range(3000)], 'a "b"': list(range(3000))}
    starts, bodies = zip(*named_pieces(arrays), strict=True)
    assert len(bodies) > 2
    assert all(len(body) <= MAX_PIECE_BYTES + 100 for body in bodies)
    read = [json.loads(body)["inputs"] for body in bodies]
    assert {name: [row for one in read for row in one[name]] for name in arrays} == arrays
    assert [one['a "b"'][0] for one in read] == list(starts)


def test_rows_of_several_arrays_that_do_not_fit_are_refused_with_their_place():
    with pytest.raises(DataError, match="inputs: must have equally many rows"):
        list(named_pieces({"left": [1, 2], "right": [1]}))
    with pytest.raises(DataError, match=r"inputs.right\[1\]: must hold finite numbers"):
        list(named_pieces({"left": [1, 2], "right": [1.0, float("nan")]}))


class Answering:
    """A service that has one prediction for whatever rows come, as for a window of them."""

    def json(self, *_, **__):
        return {"predictions": [1.0]}


def test_rows_of_a_window_are_never_cut_in_two_requests():
    model = Model(Answering(), {"id": "mdl_1"})
    row = {"day": "x" * 1000}
    assert model.predict([row] * 100) == {"predictions": [1.0]}
    with pytest.raises(ClientError, match="the rows of windows go in one request"):
        model.predict([row] * 1000)
