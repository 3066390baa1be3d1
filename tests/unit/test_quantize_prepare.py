"""The whole preparation: what is kept, and what happens to difficult models and data."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantize_nets import Net, feed, mixed_net, photos, quiet
from tflite_builder import invoke

from edgekit.errors import DataError, UsageError
from edgekit.quantize import passes
from edgekit.quantize.engine import quantize
from edgekit.quantize.judge import Judge
from edgekit.quantize.observe import SampleFeed, observe, samples
from edgekit.quantize.prepare import Prepared, held_out, prepare, split_feeds
from edgekit.quantize.ranges import choose, parse_method
from edgekit.tflite.model import read, write
from edgekit.tflite.passes import PassFailure, PassResult
from edgekit.types import Effort, Pass, Scheme

_SHAPE = (8, 8, 3)
_COUNT = 16


def _prepare(
    tmp_path: Path, effort: Effort, *, stack: Any = None, method: str = "auto", dead: bool = False
) -> tuple[Path, list[SampleFeed], Prepared]:
    path = mixed_net(tmp_path / "net.tflite", dead=dead)
    feeds = feed(tmp_path / "x.npy", photos(_COUNT, *_SHAPE) if stack is None else stack)
    model = read(path)
    result = prepare(model, feeds=feeds, effort=effort, method=method, progress=quiet)
    assert model.packed() == read(path).packed()  # the source stays as it is
    return path, feeds, result


def _invoked(result: Prepared, tmp_path: Path, image: np.ndarray) -> np.ndarray:
    write(result.model, tmp_path / "prepared.tflite")
    return invoke(tmp_path / "prepared.tflite", image)[0]


def test_none_keeps_the_model_and_the_whole_ranges(tmp_path: Path):
    path, _, result = _prepare(tmp_path, "none")
    assert result.model.packed() == read(path).packed()
    assert result.passes == []
    runs = [invoke(path, image[None])[0] for image in photos(_COUNT, *_SHAPE)]
    wanted = np.min(runs), np.max(runs)
    assert result.ranges["scores"] == pytest.approx(wanted, rel=1e-4)
    assert result.ranges == result.widest


def test_none_with_a_method_chooses_ranges_only(tmp_path: Path):
    path, _, result = _prepare(tmp_path, "none", method="percentile:90")
    assert result.model.packed() == read(path).packed()
    narrow, wide = result.ranges["image"], result.widest["image"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("effort", ["fast", "balanced"])
def test_kept_passes_never_measure_worse(effort: Effort, dead: bool, tmp_path: Path):
    path, feeds, result = _prepare(tmp_path, effort, dead=dead)
    assert result.passes[0].name == "as it comes"
    # These pay off only after the rounding, or alone, so right after them int8 may be worse.
    float_passes = {"channel equalization", "input ranges"}
    kept = [
        p.int8_db
        for p in result.passes
        if p.kept and p.int8_db is not None and p.name not in float_passes
    ]
    assert kept == sorted(kept)
    judge = Judge(path, split_feeds(feeds)[1])
    measured = judge.int8_db(result.model, result.ranges)
    assert result.int8_db == pytest.approx(measured, abs=1e-6)
    assert measured >= judge.int8_db(
        read(path), result.widest if effort == "fast" else _plain(path, feeds)
    )


def _plain(path: Path, feeds: list[SampleFeed]) -> Any:
    return prepare(path, feeds=feeds, effort="none", progress=quiet).ranges


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
    assert result.model.packed() != read(path).packed()
    image = photos(1, *_SHAPE, seed=5)
    before, after = invoke(path, image)[0], _invoked(result, tmp_path, image)
    assert 0 < np.abs(before - after).max() < 0.1 * np.abs(before).max()


@pytest.mark.parametrize("effort", ["fast", "balanced"])
def test_the_same_files_give_the_same_bytes(effort: Effort, tmp_path: Path):
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        _, _, result = _prepare(folder, effort)
        found.append((result.model.packed(), result.ranges, result.int8_db))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("left_out", "gone"),
    [
        ("equalization", "channel equalization"),
        ("rounding", "error-compensated rounding"),
        ("drift-correction", "drift correction"),
    ],
)
def test_a_pass_can_be_left_out(left_out: Pass, gone: str, tmp_path: Path):
    path, feeds, whole = _prepare(tmp_path, "balanced")
    result = prepare(path, feeds=feeds, effort="balanced", without=[left_out], progress=quiet)
    names = [one.name for one in result.passes]
    assert gone in {one.name for one in whole.passes}
    assert gone not in names
    assert ("bias correction" in names) is (left_out == "rounding")


@pytest.mark.parametrize("count", [1, 3])
def test_few_samples_leave_the_model_as_it_comes(count: int, tmp_path: Path):
    path, _, result = _prepare(tmp_path, "balanced", stack=photos(count, *_SHAPE))
    assert result.model.packed() == read(path).packed()
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
    result = prepare(path, feeds=feeds, effort="balanced", progress=quiet)
    assert result.model.packed() == read(path).packed()
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
    stated = choose(observe(path, feeds, progress=quiet), *parse_method(method))
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

    def give_up(*_: Any) -> PassResult:
        raise PassFailure("singular")

    monkeypatch.setattr(passes.RoundWeights, "call", give_up)
    monkeypatch.setattr(passes.CorrectDrift, "call", give_up)
    monkeypatch.setattr("edgekit.quantize.prepare._NOISE_DB", 1000.0)  # nor do ranges help
    path, feeds, result = _prepare(tmp_path, "balanced")
    gave_up = next(p for p in result.passes if p.name == "error-compensated rounding")
    assert not gave_up.kept
    assert gave_up.int8_db is None
    assert gave_up.did == "round weights gave up: singular"
    judge = Judge(path, split_feeds(feeds)[1])
    measured = judge.int8_db(result.model, result.ranges)
    assert result.int8_db == pytest.approx(measured, abs=1e-6)


@pytest.mark.parametrize("name", ["EqualizeChannels", "RoundWeights", "CorrectDrift"])
def test_a_mistake_in_a_pass_is_loud(name: str, tmp_path: Path, monkeypatch: Any):
    """A name that does not exist is no reason to leave a pass out: it would cost accuracy."""

    def planted(*_: Any) -> PassResult:
        return {}["weights"]  # type: ignore[no-any-return]

    monkeypatch.setattr(getattr(passes, name), "call", planted)
    with pytest.raises(KeyError):
        _prepare(tmp_path, "balanced")


@given(count=st.integers(4, 2000))
def test_held_out_samples_are_spread_over_sorted_data(count: int):
    places = held_out(count)
    assert len(set(places)) == len(places) == max(2, min(32, round(count / 4)))
    assert min(places) >= 0
    assert max(places) < count
    gaps = np.diff(places)
    assert gaps.max() - gaps.min() <= 1  # no stretch of the data is left out
    assert places[0] <= gaps.max()


def test_nothing_is_learned_from_a_held_out_sample(tmp_path: Path):
    feeds = feed(tmp_path / "x.npy", np.arange(40, dtype=np.float32).reshape(40, 1))
    learn, judged = split_feeds(feeds)
    seen = [{float(values[0].item()) for values in samples(part)} for part in (learn, judged)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == set(map(float, range(40)))


def test_thorough_draws_again_and_is_no_worse_than_balanced(tmp_path: Path):
    _, _, balanced = _prepare(tmp_path, "balanced")
    _, _, thorough = _prepare(tmp_path, "thorough")
    names = [result.name for result in thorough.passes]
    assert "rounding in stages" in names
    assert sum(name.startswith("rounding with seed") for name in names) == 4
    assert {r.did for r in thorough.passes if r.name == "ranges"} >= {"mse", "entropy"}
    assert balanced.int8_db is not None
    assert thorough.int8_db is not None
    assert thorough.int8_db >= balanced.int8_db - 0.5  # passes after another draw differ by chance


def test_an_input_whose_range_wastes_levels_is_narrowed(tmp_path: Path, monkeypatch: Any):
    """One pixel beyond white moves the file's grid away from that of 8-bit pictures."""
    # With weights that are only rounded to the nearest this tiny file changes by chance.
    monkeypatch.setattr("edgekit.quantize.prepare._UNSURE_DB", 1000.0)
    stack = photos(_COUNT, *_SHAPE)
    stack = np.rint(255 * (stack - stack.min()) / np.ptp(stack)).astype(np.float32) / 255
    stack[0, 7, 7, 0] = 1 / 0.97
    path, feeds, result = _prepare(tmp_path, "balanced", stack=stack)
    settled = next(p for p in result.passes if p.name == "input ranges")
    assert settled.kept
    assert np.ptp(result.ranges["image"]) < np.ptp(result.widest["image"])
    judge = Judge(path, split_feeds(feeds)[1])
    narrowed = {**result.widest, "image": result.ranges["image"]}
    assert judge.inputs_db(read(path), narrowed) > judge.inputs_db(read(path), result.widest)
