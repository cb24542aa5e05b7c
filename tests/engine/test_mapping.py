import numpy as np
import pytest
from safetensors.numpy import save

from chainrule.mapping import DTYPES, open_tensors
from tests import training_jobs


def test_mapped_arrays_are_what_was_saved(tmp_path):
    rng = np.random.default_rng(1)
    saved = {
        name: (rng.random((5, 3, n + 1)) * 100).astype(dtype)
        for n, (name, dtype) in enumerate(DTYPES.items())
    }
    path = tmp_path / "prepared.safetensors"
    path.write_bytes(save(saved, metadata={"who": "cares"}))
    opened = open_tensors(path)
    assert set(opened) == set(saved)
    for name, array in saved.items():
        assert opened[name].dtype == array.dtype
        np.testing.assert_array_equal(opened[name], array)


def test_mapped_arrays_cannot_be_written_to(tmp_path):
    path = tmp_path / "prepared.safetensors"
    path.write_bytes(save(training_jobs.digits()[0]))
    with pytest.raises(ValueError, match="read-only"):
        open_tensors(path)["digit"][0] = 1
