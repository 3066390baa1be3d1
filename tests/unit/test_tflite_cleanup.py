"""Delivered files: one copy of each constant, codes in both fields, an axis that is a scalar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net
from tflite_builder import invoke

from edgekit.tflite.cleanup import clean
from edgekit.tflite.model import read, write


def net_with_copies(path: Path) -> Path:
    net = Net(1, 4, 4, 8)
    weights = net.rng.normal(0, 1, (8, 1, 1, 8)).astype(np.float32)
    last = net.image
    for step in range(6):
        kernel = net.constant(f"kernel{step}", weights)
        last = net.conv(last, f"conv{step}", 8, kernel=1, weights=kernel)
    axis = net.constant("axis", np.array([3], np.int32))
    parts = [net.graph.add_tensor(f"part{n}", (1, 4, 4, 4), "float32") for n in range(2)]
    net.graph.insert_operator(
        len(net.graph.operators), "SPLIT", [axis, last], parts,
        options=schema.SplitOptionsT(numSplits=2),
    )  # fmt: skip
    return net.save(path, *parts)


def test_equal_constants_are_stored_once_and_nothing_else_changes(tmp_path: Path) -> None:
    path, cleaned = net_with_copies(tmp_path / "net.tflite"), tmp_path / "clean.tflite"
    model = read(path)
    clean(model)
    write(model, cleaned)
    kernels = {t.buffer for t in read(cleaned).main.tensors if t.name.startswith("kernel")}
    assert len(kernels) == 1
    assert cleaned.stat().st_size < path.stat().st_size - 5 * 8 * 8 * 4 + 200
    image = np.random.default_rng(1).normal(0, 1, (1, 4, 4, 8)).astype(np.float32)
    for one, other in zip(invoke(path, image), invoke(cleaned, image), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_axis_of_a_split_is_a_scalar(tmp_path: Path) -> None:
    model = read(net_with_copies(tmp_path / "net.tflite"))
    clean(model)
    (split,) = [one for one in model.main.operators if one.name == "SPLIT"]
    assert split.inputs[0] is not None
    assert split.inputs[0].shape == ()
    assert int(split.inputs[0].data()) == 3


def test_writing_a_shared_constant_leaves_the_others(tmp_path: Path) -> None:
    model = read(net_with_copies(tmp_path / "net.tflite"))
    clean(model)
    kernels = [tensor for tensor in model.main.tensors if tensor.name.startswith("kernel")]
    before = kernels[1].data().copy()
    kernels[0].set_data(np.zeros_like(before))
    np.testing.assert_array_equal(kernels[1].data(), before)


def test_codes_stand_in_both_fields(tmp_path: Path) -> None:
    """Old files have the first alone, litert-quantizer writes the second alone."""
    model = read(net_with_copies(tmp_path / "net.tflite"))
    for number, code in enumerate(model.raw.operatorCodes):
        known = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.builtinCode, code.deprecatedBuiltinCode = (known, 0) if number else (0, known)
    write(model, tmp_path / "written.tflite")
    for code in read(tmp_path / "written.tflite").raw.operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127) > 0
