"""NPY, IDX and NPZ files into the prepared file: bit for bit, a block at a time."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from chainrule.errors import DataError
from service.parsing.files import parse_file
from service.parsing.streamed import BLOCK_BYTES, held, write_streamed
from tests.service.test_parsing_npz import npy

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(array, kind):
    """Write an array as http://yann.lecun.com/exdb/mnist/ says."""
    head = bytes([0, 0, kind, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.astype(IDX_TYPES[kind]).tobytes()


def saved_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def parse(tmp_path):
    def parse(data, kind, **options):
        path = tmp_path / "file"
        path.write_bytes(data)
        parsed = parse_file(path, kind, tmp_path / "prepared", **options)
        return parsed.schema, load_file(parsed.prepared)

    return parse


@pytest.fixture
def message(parse, tmp_path):
    def message(data, kind):
        """Return what is said of a hostile file, having checked what it costs to find out."""
        tracemalloc.start()
        start = time.monotonic()
        try:
            with pytest.raises(DataError) as error:
                parse(data, kind)
            assert time.monotonic() - start < 1
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
        assert error.value.problems[0].path == "file"
        return str(error.value)

    return message


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).normal(size=(5, 3, 2)),
        np.asfortranarray(np.random.default_rng(0).normal(size=(700, 300, 4))),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.linspace(0, 1, 7, dtype=">f8"),
        np.arange(3_000_000, dtype=np.uint8).reshape(-1, 3),
    ],
    ids=["C", "Fortran", "big-endian", "big-endian floats", "longer than a block"],
)
def test_what_numpy_saves_is_one_array_called_inputs(parse, array):
    schema, tensors = parse(saved_npy(array), "npy")
    native = array.dtype.newbyteorder("=")
    assert schema["arrays"] == [
        {"name": "inputs", "shape": list(array.shape), "dtype": str(native)}
    ]
    assert schema["rows"] == len(array)
    assert list(tensors) == ["inputs"]
    assert tensors["inputs"].dtype == native
    np.testing.assert_array_equal(tensors["inputs"], array)


@pytest.mark.parametrize("kind", IDX_TYPES)
def test_every_type_of_idx_is_read(parse, kind):
    values = np.array([[0, 1, 2], [100, 50, 7]]) - (0 if kind == 0x08 else 50)
    schema, tensors = parse(idx(values, kind), "idx")
    assert schema["arrays"][0]["dtype"] == str(np.dtype(IDX_TYPES[kind]).newbyteorder("="))
    np.testing.assert_array_equal(tensors["inputs"], values)


def test_images_as_mnist_has_them_are_read(parse):
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)
    # the first bytes of train-images-idx3-ubyte: 2051, the number of images, rows and columns
    data = struct.pack(">IIII", 2051, 50, 28, 28) + images.tobytes()
    schema, tensors = parse(data, "idx")
    assert schema["rows"] == 50
    assert schema["warnings"] == []
    np.testing.assert_array_equal(tensors["inputs"], images)
    labels = np.arange(50, dtype=np.uint8) % 10
    _, tensors = parse(struct.pack(">II", 2049, 50) + labels.tobytes(), "idx")
    np.testing.assert_array_equal(tensors["inputs"], labels)


def test_values_that_are_not_finite_are_counted(parse):
    schema, _ = parse(saved_npy(np.array([1.0, np.nan, -np.inf])), "npy")
    assert schema["warnings"] == ["array 'inputs' has 2 values not finite"]


def test_a_transposed_member_of_an_archive_is_put_in_order(parse, tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 30, 2))
    file = io.BytesIO()
    np.savez_compressed(file, x=np.asfortranarray(values), y=np.arange(40))
    _, tensors = parse(file.getvalue(), "npz")
    np.testing.assert_array_equal(tensors["x"], values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "prepared"]


def test_the_prepared_file_is_the_one_that_safetensors_writes(tmp_path):
    rng = np.random.default_rng(0)
    names = ("f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1")
    arrays = {f"{n}-{name}": rng.integers(0, 9, (3, n)).astype(name)
              for n, name in enumerate(names, 1)}  # fmt: skip
    arrays |= {"b": np.ones(3), "a": np.ones(2), "ä": np.zeros((2, 2, 2))}
    write_streamed(held(arrays), tmp_path / "prepared")
    assert (tmp_path / "prepared").read_bytes() == save(arrays)


def test_memory_is_that_of_a_block(parse, tmp_path):
    array = np.zeros((20 * BLOCK_BYTES // 800, 100))
    arrays = {"npy": saved_npy(array)}
    file = io.BytesIO()
    np.savez(file, x=array)
    arrays["npz"] = file.getvalue()
    for name, data in arrays.items():
        path = tmp_path / "file"
        path.write_bytes(data)
        told: list[float] = []
        tracemalloc.start()
        parse_file(path, name, tmp_path / "prepared", progress=told.append)
        assert tracemalloc.get_traced_memory()[1] < 4 * BLOCK_BYTES
        tracemalloc.stop()
        assert told == sorted(told)
        assert told[-1] == 1
        assert len(told) >= 20


def test_arrays_have_no_columns_whose_type_could_be_given(parse):
    with pytest.raises(DataError, match=r"types.zip: there are no columns in arrays"):
        parse(saved_npy(np.ones(3)), "npy", types={"zip": "categorical"})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (npy(shape="(65536, 65536)"), "34,359,738,368 bytes, and 48 are there"),
        (npy(payload=bytes(49)), "48 bytes, and 49 are there"),
        (npy(descr="|V0", shape="(1000000000000,)", payload=b""), "its type '|V0' is not one of"),
        (npy(descr="|O"), "it holds Python objects"),
        (npy(descr=">c16"), "its type '>c16' is not one of"),
        (npy(shape="(2, 3, 1, 1, 1)"), "it has 5 axes, from 1 to 4 are read"),
        (npy(shape="(0,)", payload=b""), "its shape '(0,)' is empty or too large"),
        (npy(header=" " * 4097), "its header has 4,097 bytes"),
        (b"\x80\x04N.", "it does not start as an npy file does"),
        (b"", "it does not start as an npy file does"),
        (npy()[:40], "its header is not valid"),
    ],
)
def test_a_hostile_npy_is_refused(message, data, expected):
    assert expected in message(data, "npy")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "it does not start as an idx file does"),
        (b"\0\0\x08", "it does not start as an idx file does"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\1a", mtime=0), "unpack a .gz first"),
        (b"\0\0\x0a\1\0\0\0\1a", "its type 0x0a is not one of"),
        (b"\0\0\x08\3\0\0\0\1", "its header is cut short"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"a", "it has 255 axes, from 1 to 4"),
        (b"\0\0\x08\0a", "it has 0 axes, from 1 to 4"),
        (b"\0\0\x08\1\0\0\0\0", "its shape '(0,)' is empty or too large"),
        (b"\0\0\x0e\4" + b"\xff" * 16, "it has 4,294,967,295 rows, at most 100,000,000"),
        (b"\0\0\x0e\2\0\1\0\0\xff\xff\xff\xff", "2,251,799,813,160,960 bytes, and 0 are"),
        (b"\0\0\x08\1\0\0\0\2abc", "says (2,), 2 bytes, and 3 are there"),
    ],
)
def test_a_hostile_idx_is_refused(message, data, expected):
    found = message(data, "idx")
    assert found.startswith("file: array 'inputs' cannot be read: ")
    assert expected in found
