"""``chainrule pack``: what it writes numpy reads, and the same files give the same bytes."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
from PIL import Image

from chainrule.cli.app import run

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 8, 6), np.uint8)
LABELS = np.arange(30, dtype=np.uint8) % 10


@pytest.fixture
def pack(capsys):
    def pack(*words):
        capsys.readouterr()
        code = run(["pack", *map(str, words)])
        return code, *capsys.readouterr()

    return pack


@pytest.fixture
def mnist(tmp_path):
    """Two files as those of http://yann.lecun.com/exdb/mnist/, the images still packed."""
    images = struct.pack(">IIII", 2051, 30, 8, 6) + IMAGES.tobytes()
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (tmp_path / "labels.idx1").write_bytes(struct.pack(">II", 2049, 30) + LABELS.tobytes())
    return tmp_path / "images-idx3-ubyte.gz", tmp_path / "labels.idx1"


def test_images_and_labels_of_mnist_become_one_file(pack, mnist, tmp_path):
    output = tmp_path / "mnist.npz"
    code, out, err = pack("arrays", *mnist, "-o", output)
    assert code == 0, err
    assert "inputs (30, 8, 6), targets (30,)" in out
    with np.load(output) as found:
        assert found.files == ["inputs", "targets"]
        np.testing.assert_array_equal(found["inputs"], IMAGES)
        np.testing.assert_array_equal(found["targets"], LABELS)
    first = output.read_bytes()
    code, out, _ = pack("arrays", *mnist, "-o", output, "--json")
    assert json.loads(out)["arrays"] == {"inputs": [30, 8, 6], "targets": [30]}
    assert output.read_bytes() == first


def test_arrays_have_the_names_that_they_are_given(pack, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    np.save(tmp_path / "b.npy", np.zeros(3))
    np.savez(tmp_path / "c.npz", weights=np.arange(3))
    given = [f"seen={tmp_path}/a.npy", f"wanted={tmp_path}/b.npy", tmp_path / "c.npz"]
    assert pack("arrays", *given, "-o", tmp_path / "out.npz")[0] == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found.files == ["seen", "wanted", "weights"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["a.npy", "rows.npy"], "targets: has 2 rows, inputs has 3"),
        (["a.npy", "a.npy", "a.npy"], "need names"),
        (["x=a.npy", "x=a.npy"], "there is another array 'x'"),
        (["none.npy"], "there is no file"),
        (["text.csv"], "must be .npy, .npz or idx"),
        (["words.npy"], "must hold numbers, got <U1"),
        (["objects.npy"], "cannot be read: "),
        (["short.idx"], "says (9,), 9 bytes, and 1 are there"),
        (["cut.npy"], "cannot be read: "),
        (["bad.npy.gz"], "cannot be read: "),
    ],
)
def test_what_cannot_be_packed_is_told_where(pack, tmp_path, monkeypatch, files, says):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.ones((3, 2)))
    np.save("rows.npy", np.ones(2))
    np.save("words.npy", np.array(["a"]))
    np.save("objects.npy", np.array([{}], object))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    (tmp_path / "bad.npy.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    (tmp_path / "short.idx").write_bytes(b"\0\0\x08\1\0\0\0\x09a")
    code, _, err = pack("arrays", *files, "-o", "out.npz")
    assert code == 2
    assert says in err
    assert not list(tmp_path.glob("out*"))


@pytest.fixture
def photos(tmp_path):
    """Two classes of images, each a plain colour, one of them in another format."""
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    for name, colour in colours.items():
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(3):
            kind = "bmp" if number else "png"
            Image.new("RGB", (6, 4), colour).save(folder / f"{number}.{kind}")
    (tmp_path / "photos" / "red" / "notes.txt").write_text("not an image")
    return tmp_path / "photos"


def test_subfolders_of_images_are_classes(pack, photos, tmp_path):
    output = tmp_path / "photos.npz"
    code, out, err = pack("images", photos, "-o", output)
    assert code == 0, err
    assert "inputs (6, 4, 6, 3), classes 0 blue, 1 red" in out
    with np.load(output) as found:
        assert found["targets"].tolist() == [0, 0, 0, 1, 1, 1]
        assert found["inputs"].shape == (6, 4, 6, 3)
        assert (found["inputs"][:3] == [0, 0, 255]).all()
        assert (found["inputs"][3:] == [255, 0, 0]).all()
    names = json.loads((tmp_path / "photos.npz.classes.json").read_text())
    assert names == {"classes": ["blue", "red"]}


def test_images_are_scaled_and_lose_their_colour_where_that_is_asked(pack, photos, tmp_path):
    output = tmp_path / "small.npz"
    Image.new("RGB", (10, 10), (0, 255, 0)).save(photos / "red" / "other.png")
    code, out, _ = pack("images", photos, "-o", output, "--size", "2x3", "--grayscale", "--json")
    assert code == 0
    assert json.loads(out)["arrays"] == {"inputs": [7, 2, 3, 1], "targets": [7]}
    with np.load(output) as found:
        # ITU-R 601-2: 0.299 R + 0.587 G + 0.114 B
        expected = [29] * 3 + [76] * 3 + [150]
        np.testing.assert_allclose(found["inputs"][:, 0, 0, 0], expected, atol=1)


def test_broken_images_are_told_one_by_one_and_nothing_is_written(pack, photos, tmp_path):
    whole = (photos / "red" / "0.png").read_bytes()
    (photos / "red" / "cut.png").write_bytes(whole[:40])
    (photos / "blue" / "text.png").write_text("no image")
    Image.new("RGB", (5, 5)).save(photos / "blue" / "wide.png")
    code, _, err = pack("images", photos, "-o", tmp_path / "out.npz")
    assert code == 2
    wrong = "is 5x5, the first image 4x6: give --size"
    told = {"red/cut.png": "cannot be read", "blue/text.png": "cannot be read"}
    for name, says in {**told, "blue/wide.png": wrong}.items():
        assert f"\n  {photos}/{name}: {says}" in err
    assert err.startswith("error: 3 places\n")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("folders", "words", "says"),
    [
        ([], [], "has no subfolders"),
        (["empty"], [], "has no images"),
        (["red"], ["--size", "64"], "must be HxW in pixels"),
        (["red"], ["--size", "0x4"], "must be HxW in pixels"),
    ],
)
def test_a_folder_without_classes_is_refused(pack, tmp_path, folders, words, says):
    root = tmp_path / "photos"
    root.mkdir()
    for name in folders:
        (root / name).mkdir()
    code, _, err = pack("images", root, "-o", tmp_path / "out.npz", *words)
    assert code == 2
    assert says in err
