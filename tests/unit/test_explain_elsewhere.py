"""Whether a difference between two runs of one operator is rounding or another kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.tflite.model import read
from edgekit.validation.explain.elsewhere import difference, findings, kinds, said
from edgekit.validation.explain.points import Point, Trace


def point(folder: Path, name: str, values: np.ndarray, scale: float = 0.0) -> Point:
    path = folder / f"{name}-{len(list(folder.glob('*.npy')))}.npy"
    np.save(path, values)
    return Point(name=name, operator="CONV_2D", file=path, shape=values.shape[1:], scale=scale)


@pytest.mark.parametrize(("off", "far"), [(0, False), (1, False), (3, False), (4, True)])
def test_steps(tmp_path, off, far):
    values = np.arange(-50, 50, dtype=np.int8).reshape(2, 50)
    other = values.copy()
    other[1, 3] += off
    found = difference(point(tmp_path, "a", values, 0.5), point(tmp_path, "b", other, 0.5), 2)
    assert found.steps == off
    assert found.is_far == far
    assert found.off == pytest.approx(0.01 if off > 1 else 0)


@pytest.mark.parametrize(("noise", "far"), [(1e-7, False), (1e-3, False), (0.1, True)])
def test_real_values(tmp_path, noise, far):
    generator = np.random.default_rng(0)
    values = generator.normal(0, 1, (2, 500)).astype(np.float32)
    other = values + noise * generator.normal(0, 1, values.shape).astype(np.float32)
    found = difference(point(tmp_path, "a", values), point(tmp_path, "b", other), 2)
    assert found.steps is None
    assert found.sqnr_db == pytest.approx(-20 * np.log10(noise), abs=1)
    assert found.is_far == far


def test_values_that_are_no_numbers_there(tmp_path):
    values = np.ones((1, 4), np.float32)
    other = np.array([[1, np.nan, np.inf, 1]], np.float32)
    found = difference(point(tmp_path, "a", values), point(tmp_path, "b", other), 1)
    assert found.nonfinite == 2
    assert found.is_far
    assert not difference(point(tmp_path, "c", other), point(tmp_path, "d", other), 1).is_far


def test_what_came_in_wrong_is_not_the_operators_fault(tmp_path):
    from tflite_builder import quantized_bytes

    path = tmp_path / "model.tflite"
    path.write_bytes(quantized_bytes("static_wi8_ai8"))
    model = read(path)
    first, *others = [op.outputs[0] for op in model.main.operators]
    here, there, again = [], [], []
    for tensor in (first, *others):
        shape = (3, *tensor.shape)
        right = np.random.default_rng(0).integers(-100, 80, shape).astype(np.int8)
        wrong = (right + 40).astype(np.int8)
        here.append(point(tmp_path, tensor.name, right, 0.1))
        there.append(point(tmp_path, tensor.name, wrong, 0.1))
        # Only the first operator answers otherwise here on what it was given there.
        again.append(point(tmp_path, tensor.name, right if tensor is first else wrong, 0.1))
    traces = [Trace(stage="", points=tuple(points), samples=3) for points in (here, there, again)]
    ops = findings(model, *traces, "a phone")
    assert [op.bad for op in ops] == [True, *[False] * len(others)]
    assert ops[0].cause == "kernel"
    assert ops[0].figures["kernel_steps"] == pytest.approx(40)
    assert "a phone is at fault, not the model: 1 of" in said(ops, [], "a phone")
    assert kinds(model, ops).startswith("At fault are 1 of")
