"""A file that does not store what its name says is refused, whatever its parity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net, feed, quiet
from tflite_builder import invoke

from edgekit.errors import ConversionError
from edgekit.quantize import ranges
from edgekit.quantize.emit import emit
from edgekit.quantize.observe import observe
from edgekit.quantize.stored import refuse_misnamed
from edgekit.tflite.model import read
from edgekit.tflite.normalise import normalise
from edgekit.types import Scheme

SHAPE = (1, 6, 6, 8)
MADE: tuple[Scheme, ...] = ("fp16", "dynamic-int8", "weight-only-int8", "int8", "int8-float-io",
                            "int8-uint8-io", "int16x8", "dynamic-int4")  # fmt: skip


def written(folder: Path, scheme: Scheme) -> Path:
    net = Net(*SHAPE)
    last = net.conv(net.conv(net.image, "one", 16), "two", 16, kernel=1)
    path, output = net.save(folder / "net.tflite", last), folder / f"{scheme}.tflite"
    stack = np.random.default_rng(0).normal(0, 1, (8, *SHAPE[1:])).astype(np.float32)
    seen = observe(path, feed(folder / "x.npy", stack), progress=quiet)
    emit(path, output, scheme, ranges.choose(seen, "minmax"))
    return output


@pytest.mark.parametrize("scheme", MADE)
def test_what_the_quantizer_writes_is_what_it_is_called(scheme: Scheme, tmp_path: Path) -> None:
    refuse_misnamed(read(written(tmp_path, scheme)), scheme, excepted=False)


@pytest.mark.parametrize(
    ("made", "called"),
    [
        ("fp16", "dynamic-int8"),
        ("fp16", "int8-float-io"),
        ("dynamic-int8", "fp16"),
        ("dynamic-int8", "int8"),
        ("int8-float-io", "int8"),
        ("int8", "int8-float-io"),
        ("int8", "int8-uint8-io"),
        ("int8-uint8-io", "int8"),
    ],
)
def test_another_name_is_refused(made: Scheme, called: Scheme, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=called):
        refuse_misnamed(read(written(tmp_path, made)), called, excepted=False)


@pytest.mark.parametrize("spread", [0.3, 1e6])
def test_weights_of_a_matrix_product_are_halves_too(tmp_path: Path, spread: float) -> None:
    """litert-quantizer leaves them, and a model of nothing else was refused as fp16."""
    net = Net(1, 8, 16)
    weights = net.normal("weights", 1, 16, 64, spread=spread)
    options = schema.BatchMatMulOptionsT
    parts = [
        net.operator("BATCH_MATMUL", [net.image, weights], f"part{n}", (1, 8, 64), options())
        for n in range(2)
    ]
    path = net.save(tmp_path / "net.tflite", net.add(*parts, "sum"))
    output = tmp_path / "fp16.tflite"
    if spread > 1:  # out of the range of float16
        with pytest.raises(ConversionError, match="fp16"):
            emit(path, output, "fp16")
        return
    emit(path, output, "fp16")
    assert output.stat().st_size < path.stat().st_size - 16 * 64
    stored = [tensor for tensor in read(output).main.tensors if tensor.is_constant]
    assert [tensor.dtype for tensor in stored] == ["float16"]
    image = np.random.default_rng(3).normal(0, 1, (1, 8, 16)).astype(np.float32)
    wanted = 2 * (image[0] @ weights.data()[0].astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(invoke(output, image)[0][0], wanted, rtol=1e-4, atol=1e-4)
    model = read(output)
    assert normalise(model)
    assert [operator.name for operator in model.main.operators].count("DEQUANTIZE") == 0


def test_float16_weights_are_made_float_first(tmp_path: Path) -> None:
    """Its ``dynamic-int8`` was the float16 file again, called 200 dB and PASS."""
    from edgekit.quantize.engine import quantize

    source, output = written(tmp_path, "fp16"), tmp_path / "out.tflite"
    stack = np.random.default_rng(0).normal(0, 1, (8, *SHAPE[1:])).astype(np.float32)
    outcome = quantize(
        source, {"dynamic-int8": output}, feeds=feed(tmp_path / "y.npy", stack), work=tmp_path,
        effort="none", progress=quiet,
    )  # fmt: skip
    assert not outcome.failures
    refuse_misnamed(read(output), "dynamic-int8", excepted=False)
