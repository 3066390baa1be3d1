"""Models stay in memory while they are prepared: what that takes is counted, not timed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litert_quantizer.quantizer import Quantizer
from quantize_nets import Net, feed, photos, quiet

from edgekit.quantize.emit import Emissions, Exceptions
from edgekit.quantize.engine import quantize
from edgekit.quantize.observe import SampleFeed, laid_out, observe, samples
from edgekit.quantize.ranges import choose
from edgekit.tflite import model as model_module
from edgekit.tflite.model import read


def three_layers(path: Path) -> Path:
    net = Net(1, 8, 8, 3)
    first = net.conv(net.image, "first", 6, activation="RELU")
    second = net.conv(first, "second", 6, activation="RELU")
    return net.save(path, net.dense(second, "scores", 5))


def counted(calls: Counter[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*given: Any, **more: Any) -> Any:
        calls[name] += 1
        return function(*given, **more)

    return counting


def test_a_network_is_read_once_and_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file that litert-quantizer makes is parsed, and there are few; it were 98, 29 and 20."""
    path, calls = three_layers(tmp_path / "net.tflite"), Counter[str]()
    feeds = feed(tmp_path / "x.npy", photos(16, 8, 8, 3))
    monkeypatch.setattr(model_module, "unpack", counted(calls, "parsed", model_module.unpack))
    monkeypatch.setattr(os, "fsync", counted(calls, "on the disk", os.fsync))
    monkeypatch.setattr(Quantizer, "quantize", counted(calls, "quantized", Quantizer.quantize))
    quantize(path, {"int8": tmp_path / "o.tflite"}, feeds=feeds, work=tmp_path, progress=quiet)
    assert calls["on the disk"] == 1
    assert calls["quantized"] <= 9
    assert calls["parsed"] == 1 + calls["quantized"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.tflite", "o.tflite", "x.npy"]


def test_the_same_file_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read(three_layers(tmp_path / "net.tflite"))
    feeds = feed(tmp_path / "x.npy", photos(4, 8, 8, 3))
    limits = choose(observe(model, feeds, progress=quiet), "minmax")
    emissions = Emissions()
    made = emissions(model, "int8", limits)
    assert emissions(model, "int8", dict(limits)) is made
    others = [
        emissions(model.copy(), "int8", limits),
        emissions(model, "int8-float-io", limits),
        emissions(model, "int8", {**limits, "image": (-9.0, 9.0)}),
        emissions(model, "int8", limits, Exceptions(floating=frozenset({"second"}))),
    ]
    assert len({id(one) for one in (made, *others)}) == 5
    assert emissions(model, "int8", limits) is made
    monkeypatch.setattr("edgekit.quantize.emit._REMEMBERED", 1)
    last = emissions(model, "int8-uint8-io", limits)
    assert emissions(model, "int8-uint8-io", limits) is last
    assert emissions(model, "int8", limits) is not made


def test_samples_are_turned_once(tmp_path: Path) -> None:
    stack = photos(5, 3, 4, 6)
    np.save(tmp_path / "x.npy", stack)
    turned = SampleFeed(
        stack=tmp_path / "x.npy", shape=(1, 3, 4, 6), permutation=(0, 2, 3, 1), rows=(4, 0, 2)
    )
    plain = SampleFeed(stack=tmp_path / "x.npy", shape=(1, 3, 4, 6), permutation=(0, 1, 2, 3))
    work = tmp_path / "work"
    work.mkdir()
    found = laid_out([turned, plain], work)
    assert found[0].permutation == (0, 1, 2, 3)
    assert found[1] is plain
    for one, other in zip(samples([turned]), samples(found[:1]), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    assert found[0].load().shape == (5, 1, 4, 6, 3)
    assert len(list(work.iterdir())) == 1
