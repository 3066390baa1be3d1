"""The whole preparation: what is kept, and what happens to difficult models and data."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantize_nets import Net, feed, mixed_net, photos, quiet
from tflite_builder import invoke

from edgekit.errors import DataError, UsageError
from edgekit.quantize import passes
from edgekit.quantize.engine import quantize
from edgekit.quantize.judge import Judge
from edgekit.quantize.observe import Feed, observe
from edgekit.quantize.prepare import Prepared, prepare
from edgekit.quantize.ranges import choose, parse_method
from edgekit.tflite.model import read, write
from edgekit.types import Effort, Scheme

_SHAPE = (8, 8, 3)
_COUNT = 16
_HELD = 4  # a quarter


def _prepare(
    tmp_path: Path, effort: Effort, *, stack: Any = None, method: str = "auto", dead: bool = False
) -> tuple[Path, list[Feed], Prepared]:
    path = mixed_net(tmp_path / "net.tflite", dead=dead)
    feeds = feed(tmp_path / "x.npy", photos(_COUNT, *_SHAPE) if stack is None else stack)
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    result = prepare(path, feeds=feeds, work=work, effort=effort, method=method, progress=quiet)
    return path, feeds, result


def test_none_keeps_the_model_and_the_whole_ranges(tmp_path: Path):
    path, _, result = _prepare(tmp_path, "none")
    assert result.model == path
    assert result.passes == []
    runs = [invoke(path, image[None])[0] for image in photos(_COUNT, *_SHAPE)]
    wanted = np.min(runs), np.max(runs)
    assert result.ranges["scores"] == pytest.approx(wanted, rel=1e-4)
    assert result.ranges == result.widest


def test_none_with_a_method_chooses_ranges_only(tmp_path: Path):
    path, _, result = _prepare(tmp_path, "none", method="percentile:90")
    assert result.model == path
    narrow, wide = result.ranges["image"], result.widest["image"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("effort", ["fast", "balanced"])
def test_kept_passes_never_measure_worse(effort: Effort, dead: bool, tmp_path: Path):
    path, feeds, result = _prepare(tmp_path, effort, dead=dead)
    assert result.passes[0].name == "as it comes"
    # Equalization pays off only after the rounding, so it alone may measure worse.
    kept = [
        p.int8_db
        for p in result.passes
        if p.kept and p.int8_db is not None and p.name != "channel equalization"
    ]
    assert kept == sorted(kept)
    from dataclasses import replace

    judge = Judge(path, [replace(feeds[0], first=_COUNT - _HELD)], work=tmp_path)
    measured = judge.int8_db(result.model, result.ranges)
    assert result.int8_db == pytest.approx(measured, abs=1e-6)
    assert measured >= judge.int8_db(
        path, result.widest if effort == "fast" else _plain(path, feeds)
    )


def _plain(path: Path, feeds: list[Feed]) -> Any:
    return prepare(path, feeds=feeds, work=path.parent, effort="none", progress=quiet).ranges


def test_uneven_channels_gain_decibels_from_balanced(tmp_path: Path):
    _, _, result = _prepare(tmp_path, "balanced")
    names = {p.name: p for p in result.passes}
    assert names["channel equalization"].kept
    assert names["error-compensated rounding"].kept
    assert result.int8_db is not None
    plain = names["as it comes"].int8_db
    assert plain is not None
    assert result.int8_db > plain + 1


def test_the_prepared_float_model_is_nearly_the_original(tmp_path: Path):
    path, _, result = _prepare(tmp_path, "balanced")
    assert result.model != path
    image = photos(1, *_SHAPE, seed=5)
    before, after = invoke(path, image)[0], invoke(result.model, image)[0]
    assert 0 < np.abs(before - after).max() < 0.1 * np.abs(before).max()


@pytest.mark.parametrize("effort", ["fast", "balanced"])
def test_the_same_files_give_the_same_bytes(effort: Effort, tmp_path: Path):
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        _, _, result = _prepare(folder, effort)
        found.append((result.model.read_bytes(), result.ranges, result.int8_db))
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [1, 3])
def test_few_samples_leave_the_model_as_it_comes(count: int, tmp_path: Path):
    path, _, result = _prepare(tmp_path, "balanced", stack=photos(count, *_SHAPE))
    assert result.model == path
    assert result.passes == []


def test_four_samples_are_enough(tmp_path: Path):
    _, _, result = _prepare(tmp_path, "balanced", stack=photos(4, *_SHAPE))
    assert result.passes


def test_graphs_with_branches_are_left_as_they_come(tmp_path: Path):
    path = mixed_net(tmp_path / "net.tflite")
    model = read(path)
    model.raw.subgraphs.append(copy.deepcopy(model.raw.subgraphs[0]))
    write(model, path)
    feeds = feed(tmp_path / "x.npy", photos(8, *_SHAPE))
    result = prepare(path, feeds=feeds, work=tmp_path, effort="balanced", progress=quiet)
    assert result.model == path
    assert result.passes == []


@pytest.mark.parametrize("effort", ["fast", "balanced"])
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_constant_pictures_end_in_a_usable_file(effort: Effort, value: float, tmp_path: Path):
    """Ten black (or grey) images: nothing to learn from, and nothing breaks."""
    path = mixed_net(tmp_path / "net.tflite")
    feeds = feed(tmp_path / "x.npy", np.full((10, *_SHAPE), value, np.float32))
    output = tmp_path / "int8.tflite"
    outcome = quantize(
        path, {"int8": output}, feeds=feeds, work=tmp_path, effort=effort, progress=quiet
    )
    assert not outcome.failures
    graph = read(output).main
    assert all(
        np.isfinite(t.quantization.scales).all() and min(t.quantization.scales) > 0
        for t in graph.tensors
        if t.quantization is not None
    )
    (scores,) = invoke(output, np.zeros((1, *_SHAPE), np.int8))
    assert scores.dtype == np.int8
    assert scores.shape == (1, 5)


def test_black_pictures_do_not_turn_biases_around(tmp_path: Path):
    """An input that is always zero has next to no step; a bias in parts of it exceeds int32."""
    net = Net(1, *_SHAPE)
    bias = net.constant("b", np.array([0.5, -0.5, 1.0], np.float32))
    path = net.save(tmp_path / "net.tflite", net.conv(net.image, "out", 3, bias=bias))
    black = np.zeros((10, *_SHAPE), np.float32)
    feeds, output = feed(tmp_path / "x.npy", black), tmp_path / "int8.tflite"
    schemes: dict[Scheme, Path] = {"int8-float-io": output}
    quantize(path, schemes, feeds=feeds, work=tmp_path, effort="none", progress=quiet)
    np.testing.assert_allclose(invoke(output, black[:1])[0], invoke(path, black[:1])[0], atol=0.02)


def test_dead_channels_end_in_a_usable_file(tmp_path: Path):
    path = mixed_net(tmp_path / "net.tflite", dead=True)
    feeds = feed(tmp_path / "x.npy", photos(8, *_SHAPE))
    output = tmp_path / "int8.tflite"
    outcome = quantize(path, {"int8-float-io": output}, feeds=feeds, work=tmp_path, progress=quiet)
    assert not outcome.failures
    image = photos(1, *_SHAPE)
    wanted, got = invoke(path, image)[0], invoke(output, image)[0]
    assert np.abs(wanted - got).max() < 0.1 * np.abs(wanted).max()


def test_nan_in_the_samples_is_an_error(tmp_path: Path):
    stack = photos(6, *_SHAPE)
    stack[5, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="image"):
        _prepare(tmp_path, "balanced", stack=stack)


def test_an_unknown_method_is_an_error(tmp_path: Path):
    with pytest.raises(UsageError):
        _prepare(tmp_path, "fast", method="best")


@pytest.mark.parametrize("method", ["mse", "entropy", "percentile:99.9", "minmax"])
def test_a_stated_method_is_used(method: str, tmp_path: Path):
    path, feeds, result = _prepare(tmp_path, "fast", method=method)
    assert not [p for p in result.passes if p.name == "ranges"]  # nothing was left to choose
    assert result.passes[0].did == f"ranges {method.partition(':')[0]}"
    stated = choose(observe(path, feeds, work=tmp_path, progress=quiet), *parse_method(method))
    assert result.ranges == stated


def test_a_model_without_layers_passes_through(tmp_path: Path):
    net = Net(1, *_SHAPE)
    path = net.save(tmp_path / "net.tflite", net.relu(net.image, "out"))
    feeds = feed(tmp_path / "x.npy", photos(8, *_SHAPE))
    output = tmp_path / "int8.tflite"
    outcome = quantize(path, {"int8": output}, feeds=feeds, work=tmp_path, progress=quiet)
    assert not outcome.failures
    assert invoke(output, np.zeros((1, *_SHAPE), np.int8))[0].shape == (1, *_SHAPE)


def test_a_pass_that_gives_up_leaves_no_worse_model(tmp_path: Path, monkeypatch: Any):
    """Equalized weights that are then not rounded with care may be worse than the original."""

    def give_up(*_: Any, **__: Any) -> str:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(passes, "round_weights", give_up)
    monkeypatch.setattr(passes, "correct_drift", give_up)
    monkeypatch.setattr("edgekit.quantize.prepare._NOISE_DB", 1000.0)  # nor do ranges help
    path, feeds, result = _prepare(tmp_path, "balanced")
    gave_up = next(p for p in result.passes if p.name == "error-compensated rounding")
    assert not gave_up.kept
    assert gave_up.int8_db is None
    from dataclasses import replace

    judge = Judge(path, [replace(feeds[0], first=_COUNT - _HELD)], work=tmp_path)
    measured = judge.int8_db(result.model, result.ranges)
    assert result.int8_db == pytest.approx(measured, abs=1e-6)
