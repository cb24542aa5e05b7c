"""NPZ and JSON: what numpy writes is read, what is hostile is refused soon and in little memory."""

from __future__ import annotations

import io
import pickle
import struct
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import DataError
from service.parsing.json_arrays import read_json
from service.parsing.npz import read_npz
from service.parsing.streamed import array_schema, held


def npy(descr="<f8", shape="(2, 3)", payload=b"\0" * 48, *, version=1, header=None):
    """Return an npy file, true or not."""
    text = header or f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"
    data = text.encode()
    length = struct.pack("<H" if version == 1 else "<I", len(data))
    return b"\x93NUMPY" + bytes([version, 0]) + length + data + payload


def archive(*members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, content in members:
            out.writestr(name, content)
    return file.getvalue()


def saved(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def read(data):
    """Return the arrays of an archive, in memory."""
    return {
        array.name: np.concatenate([block.ravel() for block in array.blocks()]).reshape(array.shape)
        for array in read_npz(data, Path(tempfile.gettempdir()))
    }


def message(data):
    """Return what is said of a hostile file, having checked what it costs to find out."""
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(DataError) as error:
            read(data)
        assert time.monotonic() - start < 1
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert error.value.problems[0].path == "file"
    return str(error.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saves_is_read_bit_for_bit(save):
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "f8": rng.normal(size=(5, 3)),
        "f4": rng.normal(size=(5, 2, 2)).astype(np.float32),
        "fortran": np.asfortranarray(rng.normal(size=(5, 3, 2))),
        "large": rng.integers(0, 9, (300_000, 2)),
        **{name: np.arange(5).astype(name) for name in ("i1", "i2", "i4", "i8", "u1", "u2", "u4")},
    }
    found = read(saved(save, **arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_booleans_and_halves_become_types_that_train():
    found = read(saved(b=np.array([True, False]), h=np.array([0.5, 2], np.float16)))
    assert (found["b"].dtype, found["b"].tolist()) == (np.uint8, [1, 0])
    assert (found["h"].dtype, found["h"].tolist()) == (np.float32, [0.5, 2])


def test_labels_that_pack_very_well_are_read():
    labels = np.zeros(1_000_000, np.int64)
    data = saved(np.savez_compressed, y=labels)
    assert labels.nbytes > 100 * len(data)
    assert len(read(data)["y"]) == 1_000_000


def test_the_schema_tells_shapes_types_and_what_is_odd():
    arrays = held({"x": np.array([[1.0], [np.nan]]), "y": np.arange(3)})
    schema = array_schema(arrays, {"x": 1, "y": 0})
    assert schema["rows"] == 3
    assert schema["arrays"][0] == {"name": "x", "shape": [2, 1], "dtype": "float64"}
    assert schema["warnings"] == [
        "the arrays differ in their number of rows: 'x' 2, 'y' 3",
        "array 'x' has 1 value not finite",
    ]


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (npy(shape="(65536, 65536)"), "(65536, 65536) of <f8, 34,359,738,368 bytes"),
        (npy(payload=b"\0" * 49), "48 bytes, and 49 are there"),
        (npy(payload=b"\0" * 47), "48 bytes, and 47 are there"),
        (npy(descr="|V0", shape="(1000000000000,)", payload=b""), "its type '|V0' is not one of"),
        (npy(descr="|O"), "it holds Python objects"),
        (npy(descr="<U500000000"), "its type '<U500000000' is not one of"),
        (npy(descr="<c16"), "its type '<c16' is not one of"),
        (npy(shape="(" + "1, " * 1000 + ")"), "it has 1000 axes"),
        (npy(shape="()", payload=b"\0" * 8), "it has 0 axes"),
        (npy(shape="(-1, 3)"), "its header is not valid"),
        (npy(shape="(0, 3)", payload=b""), "is empty or too large"),
        (npy(shape="(99999999999999999999999999, 3)"), "is empty or too large"),
        (npy(shape="(2, True)"), "its header is not valid"),
        (npy(shape="(" * 1000 + ")" * 1000), "its header is not valid"),
        (npy(header="__import__('os').system('true')"), "its header is not valid"),
        (npy(header="{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2, 3), }"),
         "its header is not valid"),
        (npy(header="{'descr': '<f8', 'shape': (2, 3)}"), "its header is not valid"),
        (npy(header=" " * 4097), "its header has 4,097 bytes"),
        (b"\x93NUMPY\2\0" + struct.pack("<I", 1_500_000_000) + b"{" * 99, "1,500,000,000 bytes"),
        (npy(version=4), "its version 4 is not known"),
        (pickle.dumps({"a": 1}, protocol=2), "does not start as an npy file does"),
        (b"", "does not start as an npy file does"),
    ],
)  # fmt: skip
def test_a_lying_array_is_refused_before_it_takes_memory(member, expected):
    found = message(archive(("x.npy", member)))
    assert found.startswith("file: array 'x' cannot be read: ")
    assert expected in found


def test_objects_that_numpy_pickles_are_never_unpickled(tmp_path):
    canary = tmp_path / "canary"

    class Trap:
        def __reduce__(self):
            return (canary.touch, ())

    assert "Python objects" in message(saved(x=np.array([Trap()], dtype=object)))
    assert not canary.exists()


@pytest.mark.parametrize(
    "name", ["../../x.npy", "/x.npy", "a\\x.npy", "c:x.npy", "x\n.npy", ".npy", "x.pkl", "x/"]
)
def test_names_are_no_paths(name):
    assert "is no array: names end in .npy and hold no path" in message(archive((name, npy())))


def test_a_name_that_the_prepared_file_needs_is_refused():
    assert "reserved" in message(archive(("__metadata__.npy", npy())))


def test_a_bomb_is_refused_by_its_ratio_and_by_its_size():
    zeros = npy("|u1", f"({50 << 20},)", payload=bytes(50 << 20))
    assert "times its size, at most 100" in message(archive(("x.npy", zeros)))
    data = bytearray(archive(*((f"x{i}.npy", npy()) for i in range(5))))
    entry = -1
    while (entry := data.find(b"PK\1\2", entry + 1)) >= 0:
        data[entry + 24 : entry + 28] = struct.pack("<I", 4_000_000_000)
    assert "unpacks to 20,000,000,000 bytes" in message(bytes(data))


def test_a_member_that_unpacks_to_more_than_it_says_is_cut_off():
    honest = npy("|u1", "(10,)", payload=bytes(15_000_000))
    data = bytearray(archive(("x.npy", honest)))
    entry = data.rfind(b"PK\1\2")
    size = len(npy("|u1", "(10,)", payload=bytes(10)))
    data[entry + 24 : entry + 28] = struct.pack("<I", size)
    assert "'x' is damaged" in message(bytes(data))


def test_overlapping_members_are_refused():
    data = bytearray(archive(("a.npy", npy()), ("a.npx", npy()), method=zipfile.ZIP_STORED))
    # the second entry of the directory points at the first one's data, under its name
    first = data.find(b"PK\1\2")
    second = data.find(b"PK\1\2", first + 1)
    data[second + 46 : second + 51] = b"b.npy"
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    data[30:35] = b"b.npy"
    data[first + 46 : first + 51] = b"a.npy"
    assert "the two headers of 'a' differ" in message(bytes(data))
    data[first + 46 : first + 51] = b"b.npy"
    assert "is in it twice" in message(bytes(data))


def test_a_quoted_overlap_is_refused():
    # Fifield's: a stored member whose data is another member, header and all
    inner = archive(("b.npy", npy()), method=zipfile.ZIP_STORED)
    end = inner.find(b"PK\1\2")
    data = bytearray(archive(("a.npy", inner[:end]), ("b.npy", npy()), method=zipfile.ZIP_STORED))
    second = data.rfind(b"PK\1\2")
    data[second + 42 : second + 46] = struct.pack("<I", 35)
    assert "its members overlap" in message(bytes(data))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused():
    assert "'x' is in it twice" in message(archive(("x.npy", npy()), ("x.npy", npy())))


def test_too_many_members_are_counted():
    many = archive(*((f"x{i}.npy", npy()) for i in range(65)))
    assert "it has 65 members, at most 64" in message(many)


def test_an_encrypted_member_is_refused():
    data = bytearray(archive(("x.npy", npy())))
    entry = data.rfind(b"PK\1\2")
    data[entry + 8] |= 1
    assert "is encrypted" in message(bytes(data))


def test_other_methods_of_packing_are_refused():
    data = archive(("x.npy", npy()), method=zipfile.ZIP_LZMA)
    assert "packed by method 14" in message(data)


def zip64(data):
    """Write an archive's sizes and places as archives do that are too large for 32 bits."""
    end = data.rfind(b"PK\5\6")
    _, _, _, _, count, _, at, _ = struct.unpack("<4s4H2LH", data[end : end + 22])
    directory = b""
    for _ in range(count):
        entry = [*struct.unpack("<4s6H3L5H2L", data[at : at + 46])]
        names = entry[10], entry[11], entry[12]
        name = data[at + 46 : at + 46 + names[0]]
        at += 46 + sum(names)
        wide = struct.pack("<2H3Q", 1, 24, entry[9], entry[8], entry[16])
        entry[8] = entry[9] = entry[16] = 0xFFFFFFFF
        other = struct.pack("<2H2s", 0xCAFE, 2, b"xy")
        entry[11], entry[12] = len(other) + len(wide), 0
        directory += struct.pack("<4s6H3L5H2L", *entry) + name + other + wide
    start = struct.unpack("<L", data[end + 16 : end + 20])[0]
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, *[0xFFFFFFFF] * 2, 0)
    return data[:start] + directory + record + locator + last


def test_zip64_is_read():
    arrays = {"x": np.arange(12.0).reshape(4, 3), "y": np.arange(4)}
    data = zip64(saved(np.savez_compressed, **arrays))
    with zipfile.ZipFile(io.BytesIO(data)) as archive_:  # so does Python
        assert [one.file_size > 48 for one in archive_.infolist()] == [True, True]
    found = read(data)
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


def test_zip64_that_does_not_add_up_is_refused():
    data = bytearray(archive(("x.npy", npy())))
    entry = data.rfind(b"PK\1\2")
    data[entry + 20 : entry + 28] = b"\xff" * 8
    assert "is not valid" in message(bytes(data))
    end = data.rfind(b"PK\5\6")
    data[end + 16 : end + 20] = b"\xff" * 4
    assert "does not add up" in message(bytes(data))
    wide = bytearray(zip64(archive(("x.npy", npy()))))
    locator = wide.rfind(b"PK\6\7")
    wide[locator + 8] ^= 1
    assert "zip64 is not where it says" in message(bytes(wide))


def test_every_cut_of_a_zip64_archive_is_an_error():
    whole = zip64(saved(x=np.arange(12.0)))
    for size in range(len(whole)):
        message(whole[:size])


@pytest.mark.parametrize("data", [b"", b"PK", b"a,b\n1,2\n", b"PK\5\6" + b"\0" * 18])
def test_what_is_no_archive_or_an_empty_one_is_refused(data):
    message(data)


def test_every_cut_and_flipped_byte_is_an_error_or_harmless():
    whole = saved(np.savez_compressed, x=np.arange(12.0).reshape(4, 3), y=np.arange(4))
    rng = np.random.default_rng(0)
    for size in range(0, len(whole), 7):
        message(whole[:size])
    for _ in range(500):
        broken = bytearray(whole)
        broken[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        try:
            found = read(bytes(broken))
        except DataError:
            continue
        assert sorted(array.size for array in found.values()) == [4, 12]


def test_json_arrays_are_read():
    arrays = read_json(b'{"targets": [1, 0], "inputs": [[0, 1.5], [2, 3]]}')
    assert arrays["inputs"].tolist() == [[0, 1.5], [2, 3]]
    assert arrays["targets"].dtype == np.int64
    assert list(arrays) == ["inputs", "targets"]


def test_several_json_arrays_have_names():
    arrays = read_json(b'{"targets": {"y": [1, 0]}, "inputs": {"b": [[1], [2]], "a": [3, 4.5]}}')
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "b": [[1], [2]],
        "a": [3, 4.5],
        "y": [1, 0],
    }
    assert list(arrays) == ["b", "a", "y"]
    assert list(read_json(b'{"inputs": [[1]], "targets": {"y": [1]}}')) == ["inputs", "y"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"inputs": {"a": [1, "x"]}}', "inputs.a[1]: must be a number, got 'x'"),
        (b'{"inputs": {"a.b": [1, "x"]}}', 'inputs["a.b"][1]: must be a number'),
        (b'{"inputs": {"a": [1]}, "targets": {"a": [1]}}', "targets.a: there is another array"),
        (b'{"inputs": {"a": [1]}, "targets": {"y": [1, 2]}}', "targets.y: has 2 rows, a has 1"),
        (b'{"inputs": {"a": {"b": [1]}}}', "inputs.a: must be a list of rows, got an object"),
        (b'{"inputs": {"": [1]}}', "file: inputs: a name must be printable text"),
        (b'{"inputs": {"a\\u0000": [1]}}', "file: inputs: a name must be printable text"),
        (b'{"inputs": {"__metadata__": [1]}}', "file: inputs: the name '__metadata__' is reserved"),
        (b'{"inputs": {}}', "file: has 0 arrays"),
        (
            b'{"inputs": {' + b",".join(b'"%d": [1]' % n for n in range(65)) + b"}}",
            "file: has 65 arr",
        ),
        (b"", "file: is not JSON: line 1, column 1"),
        (b"[1, 2]", 'file: must be {"inputs"'),
        (b'{"targets": [1]}', 'file: must be {"inputs"'),
        (b'{"inputs": [[1]], "rows": 1}', "file: 'rows' is not known"),
        (b'{"inputs": [[1]], "inputs": [[1]]}', "file: a name appears twice"),
        (b'{"inputs": [[1, NaN]]}', "file: NaN is not a JSON number"),
        (b'{"inputs": [[1, 1e999]]}', "inputs[0]: must be finite numbers"),
        (b'{"inputs": [[1], [1, 2]]}', "inputs[1]: has shape (2,), the rows before (1,)"),
        (b'{"inputs": [[1, "a"]]}', "inputs[0][1]: must be a number, got 'a'"),
        (b'{"inputs": [[1, null]]}', "inputs[0][1]: must be a number, got null"),
        (b'{"inputs": [[1], [2]], "targets": [1]}', "targets: has 1 row, inputs has 2"),
        (b'{"inputs": []}', "inputs: is empty"),
        (b'{"inputs": 1}', "inputs: must be a list of rows, got 1"),
        (b'{"inputs": [[1]]} x', "file: is not JSON: line 1, column 19"),
        (b"\xff", "file: is not UTF-8"),
        (b"[" * 100_000, "file: is nested too deeply"),
        (b'{"inputs": ' + b"[" * 400 + b"]" * 400 + b"}", "inputs[0][0][0][0][0]: is nested"),
        (b'{"inputs": [[' + b"9" * 5000 + b"]]}", "file: is not JSON that can be read"),
        (b'{"inputs": [[' + b"9" * 50 + b"]]}", "inputs[0][0]: must be a number"),
    ],
)
def test_json_that_is_no_arrays_is_told_where(data, expected):
    with pytest.raises(DataError) as error:
        read_json(data)
    assert str(error.value).startswith(expected)
