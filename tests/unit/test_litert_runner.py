"""What the profiler's table says, added up by type of operator."""

from __future__ import annotations

from pathlib import Path

import explain_nets
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_builder import random_weights, tiny_net

from edgekit.runners.litert_runner import by_type
from edgekit.tflite.model import write

TABLE = """\
===================== Run Order =====================
          [node type]  [start]  [first]  [avg ms]     [%]  [cdf%]  [mem KB] [times called] [Name]
 Delegate/Convolution (NHWC, QC8) IGEMM  0.000  1.506  1.500  50.000%  50.000%  0.0  5  [Delegate]:0
 Delegate/Add (ND)                       0.000  0.015  0.250   8.333%  58.333%  0.0  5  [Delegate]:1
 Delegate/Add (ND)                       0.000  0.015  0.250   8.333%  66.666%  0.0  5  [Delegate]:2
 CAST                                    0.000  1.000  1.000  33.333% 100.000%  0.0  5  [x y]:3

===================== Top by Computation Time =====================
 CAST                                    0.000  1.000  1.000  33.333% 100.000%  0.0  5  [x y]:3
"""


def test_operators_by_type_with_their_delegate():
    conv, cast, add = by_type(TABLE)
    assert (conv.operator, conv.delegate, conv.count) == (
        "Convolution (NHWC, QC8) IGEMM",
        "XNNPACK",
        1,
    )
    assert (cast.operator, cast.delegate, cast.ms) == ("CAST", "", 1.0)
    assert (add.count, add.ms) == (2, 0.5)
    assert sum(one.share for one in (conv, cast, add)) == pytest.approx(1)


def test_another_text_says_nothing():
    assert by_type("") == ()
    assert by_type("profiling is not there") == ()


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_a_scalar_stays_a_scalar(dtype: type) -> None:
    worker = explain_nets.worker()
    scale = 0.5 if dtype is np.int8 else 0.0
    value = worker.quantize(np.array(3.0, np.float32), {"quantization": (scale, 1), "dtype": dtype})
    assert (value.shape, value.dtype, value.item()) == ((), dtype, 7 if scale else 3)


@pytest.mark.parametrize(
    ("name", "says"),
    [("MyOp", "MyOp is a custom operator"), ("FlexErf", "edgekit inspect names them")],
)
def test_operators_that_the_runtime_does_not_have_are_named(
    tmp_path: Path, name: str, says: str
) -> None:
    model = tiny_net(random_weights())
    code = schema.OperatorCodeT(builtinCode=32, deprecatedBuiltinCode=32, customCode=name)
    model.raw.operatorCodes.append(code)
    model.main.raw.operators[-1].opcodeIndex = len(model.raw.operatorCodes) - 1
    model.main.raw.operators[-1].builtinOptions = None
    model.main.raw.operators[-1].builtinOptionsType = 0
    write(model, tmp_path / "net.tflite")
    worker = explain_nets.worker()
    with pytest.raises(worker.WorkerError) as caught:
        worker.open_interpreter(str(tmp_path / "net.tflite"), threads=1)
    assert says in caught.value.cure
