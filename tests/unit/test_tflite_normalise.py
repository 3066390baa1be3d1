"""Files from elsewhere: float16 weights, operator codes in one of the two fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_builder import invoke, random_image, random_weights, tiny_net

from edgekit.tflite.model import Model, read, write
from edgekit.tflite.normalise import normalise, normalised


def with_float16_weights(share: bool = False) -> Model:
    """The tiny net with its constants in float16, each read through a DEQUANTIZE."""
    model = tiny_net(random_weights())
    graph = model.main
    constants = [tensor for tensor in graph.tensors if tensor.is_constant]
    for wide in constants:
        data = wide.data().astype(np.float16)
        stored = graph.add_tensor(f"{wide.name}_half", wide.shape, "float16", data)
        model.raw.buffers[wide.buffer].data = None
        wide.use_buffer(0)
        for _ in range(2 if share else 1):
            graph.insert_operator(
                0, "DEQUANTIZE", [stored], [wide], options=schema.DequantizeOptionsT()
            )
            if share:
                wide = graph.add_tensor(f"{wide.name}_again", wide.shape, "float32")
    return model


@pytest.mark.parametrize("share", [False, True])
def test_float16_weights_become_float32_with_the_same_outputs(tmp_path: Path, share: bool) -> None:
    write(with_float16_weights(share), tmp_path / "half.tflite")
    copy = normalised(tmp_path / "half.tflite", tmp_path / "copy.tflite")
    assert copy == tmp_path / "copy.tflite"
    model = read(copy)
    assert [operator.name for operator in model.main.operators] == ["CONV_2D", "FULLY_CONNECTED"]
    assert all(t.dtype == "float32" for t in model.main.tensors if t.is_constant)
    for seed in range(3):
        image = random_image(seed)
        before, after = (invoke(path, image)[0] for path in (tmp_path / "half.tflite", copy))
        assert np.array_equal(before, after)
    # Nothing of float16 is left behind in the file.
    weights = sum(t.nbytes for t in model.main.tensors)
    stored = sum(len(b.data) for b in model.raw.buffers if b.data is not None)
    assert stored <= weights + 64


@pytest.mark.parametrize("field", ["builtinCode", "deprecatedBuiltinCode"])
def test_operator_codes_stand_in_both_fields(tmp_path: Path, field: str) -> None:
    model = tiny_net(random_weights())
    right = [(c.builtinCode, c.deprecatedBuiltinCode) for c in model.raw.operatorCodes]
    for code in model.raw.operatorCodes:
        setattr(code, field, 0)
    write(model, tmp_path / "old.tflite")
    again = read(normalised(tmp_path / "old.tflite", tmp_path / "copy.tflite"))
    assert [(c.builtinCode, c.deprecatedBuiltinCode) for c in again.raw.operatorCodes] == right


def test_newer_operators_have_127_in_the_older_field() -> None:
    model = tiny_net(random_weights())
    code: Any = model.raw.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = 150, 0
    assert normalise(model)
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (150, 127)


def test_a_file_that_is_right_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    write(tiny_net(random_weights()), path)
    assert normalised(path, tmp_path / "copy.tflite") == path
    assert not (tmp_path / "copy.tflite").exists()
