"""A file that does not store what its name says is refused, whatever its parity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quantize_nets import Net, feed, quiet

from edgekit.errors import ConversionError
from edgekit.quantize import ranges
from edgekit.quantize.emit import emit
from edgekit.quantize.observe import observe
from edgekit.quantize.stored import refuse_misnamed
from edgekit.tflite.model import read
from edgekit.types import Scheme

SHAPE = (1, 6, 6, 8)
MADE: tuple[Scheme, ...] = ("fp16", "dynamic-int8", "weight-only-int8", "int8", "int8-float-io",
                            "int8-uint8-io", "int16x8", "dynamic-int4")  # fmt: skip


def written(folder: Path, scheme: Scheme) -> Path:
    net = Net(*SHAPE)
    last = net.conv(net.conv(net.image, "one", 16), "two", 16, kernel=1)
    path, output = net.save(folder / "net.tflite", last), folder / f"{scheme}.tflite"
    stack = np.random.default_rng(0).normal(0, 1, (8, *SHAPE[1:])).astype(np.float32)
    seen = observe(path, feed(folder / "x.npy", stack), work=folder, progress=quiet)
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
