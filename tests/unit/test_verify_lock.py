"""A file from elsewhere is one of the lock's, or it is said why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tflite_builder as tiny

from edgekit.contract import Contract, InputContract
from edgekit.errors import UsageError
from edgekit.provenance.lock import Lock
from edgekit.provenance.verify import lock_file, verify_file
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.model import read, write
from edgekit.types import TensorSpec

CONTRACT = Contract(inputs=(InputContract(tensor=TensorSpec(name="image", shape=tiny.IMAGE)),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net_fp32.tflite"
    path.write_bytes(tiny.tiny_bytes())
    embed_contract(path, path, CONTRACT)
    return path


@pytest.fixture
def lock(path: Path) -> Lock:
    return Lock(edgekit="1", command="", request={}, files=(lock_file(path, path.name, "fp32"),))


def test_the_same_file(path, lock):
    found = verify_file(path, lock)
    assert (found.state, found.entry, found.scheme, found.remarks) == (
        "same",
        path.name,
        "fp32",
        (),
    )


def test_the_same_file_under_another_name(path, lock):
    path = path.rename(path.with_name("renamed.tflite"))
    found = verify_file(path, lock)
    assert found.state == "same"
    assert found.remarks == ("is called net_fp32.tflite in the lock",)


def test_one_weight_changed(path, lock):
    model = read(path)
    kernel = next(tensor for tensor in model.main.tensors if tensor.name == "kernel")
    values = kernel.data().copy()
    values[0, 0, 0, 0] += 1
    kernel.set_data(values)
    write(model, path)
    found = verify_file(path, lock)
    assert found.state == "differs"
    assert found.remarks == ("has another content", "the same size and contract")


def test_another_contract(path, lock):
    other = replace(CONTRACT.inputs[0], assumed=("something",))
    embed_contract(path, path, replace(CONTRACT, inputs=(other,)))
    found = verify_file(path, lock)
    assert found.state == "differs"
    assert "another contract" in found.remarks


def test_the_contract_taken_out(path, lock):
    path.write_bytes(tiny.tiny_bytes())
    assert "no contract inside" in verify_file(path, lock).remarks


def test_a_file_that_is_not_in_the_lock(path, lock):
    other = path.with_name("other.tflite")
    other.write_bytes(tiny.quantized_bytes("static_wi8_ai8"))
    found = verify_file(other, lock)
    assert (found.state, found.entry) == ("unknown", "")
    assert "net_fp32.tflite" in found.remarks[0]
    assert "no file" in verify_file(other, replace(lock, files=())).remarks[0]


@pytest.mark.parametrize("content", [b"", b"x", b"\x1c\0\0\0TFL3" + b"\xff" * 40])
def test_a_file_that_is_no_tflite_differs(path, lock, content):
    path.write_bytes(content)
    found = verify_file(path, lock)
    assert found.state == "differs"
    assert f"{len(content):,} bytes instead of" in found.remarks[1]
    assert len(found.remarks) == 3  # and why it cannot be read


def test_a_file_cut_off(path, lock):
    path.write_bytes(path.read_bytes()[:-100])
    assert verify_file(path, lock).state == "differs"


def test_a_lock_that_contradicts_itself(path, lock):
    (entry,) = lock.files
    wrong = replace(lock, files=(replace(entry, size_bytes=1, contract="a" * 64),))
    found = verify_file(path, wrong)
    assert found.state == "differs"
    assert "another contract" in found.remarks


def test_a_file_that_is_not_there(tmp_path, lock):
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(UsageError, match="There is no file"):
            verify_file(path, lock)


def test_of_two_equal_files_the_one_of_that_name(path, lock):
    (entry,) = lock.files
    both = replace(lock, files=(replace(entry, name="a.tflite"), entry))
    assert verify_file(path, both).entry == path.name
    assert np.array_equal(verify_file(path, both).remarks, ())
