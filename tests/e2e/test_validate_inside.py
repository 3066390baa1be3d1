"""``edgekit validate`` says which layer is to blame for a gate that failed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import validate_nets as nets

import edgekit

pytestmark = pytest.mark.e2e
CLASSES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


def shuffled(net: nets.Net) -> None:
    """The convolution's weights, in another order."""
    weights = net.graph.operators[0].inputs[1]
    assert weights is not None
    values = np.random.default_rng(0).permutation(weights.data().reshape(-1))
    weights.set_data(values.reshape(weights.shape))


def test_the_layer_is_named_where_a_gate_failed_and_nowhere_else(tmp_path: Path) -> None:
    nets.pictures(tmp_path / "data", 20, CLASSES)
    said = nets.contract(labels=CLASSES)
    reference = nets.classifier(tmp_path / "reference.tflite", said=said)
    good = nets.classifier(tmp_path / "good.tflite", said=said)
    bad = nets.classifier(tmp_path / "bad.tflite", said=said, change=shuffled)

    result = edgekit.validate(
        good, bad, reference=reference, data=tmp_path / "data", latency=False, jobs=1
    )

    assert {layer.candidate for layer in result.layers} == {"bad"}
    by_name = {layer.name: layer for layer in result.layers}
    assert "weights" in by_name["features"].cause
    assert by_name["features"].sqnr_db < 10
    first, second = result.candidates
    assert not first.notes
    assert first.diagnosis is None
    assert second.diagnosis is not None
    assert "The first bad operator is features (CONV_2D)" in second.diagnosis.finding
    assert "weights" in second.diagnosis.why
    assert "Convert again" in second.diagnosis.advice

    everything = edgekit.validate(
        good, reference=reference, data=tmp_path / "data", latency=False, jobs=1, explain="always"
    )
    assert {layer.name for layer in everything.layers} >= {"features", "scores"}
    nothing = edgekit.validate(
        bad, reference=reference, data=tmp_path / "data", latency=False, jobs=1, explain="never"
    )
    assert not nothing.layers
    assert not nothing.passed


def test_a_recording_shows_no_layers(tmp_path: Path) -> None:
    nets.pictures(tmp_path / "data", 8, CLASSES)
    said = nets.contract(labels=CLASSES)
    reference = nets.classifier(tmp_path / "reference.tflite", said=said)
    bad = nets.classifier(tmp_path / "bad.tflite", said=said, change=shuffled)
    bundle = tmp_path / "ref.edgeref"
    edgekit.record_reference(reference, data=tmp_path / "data", output=bundle)

    result = edgekit.validate(bad, reference=bundle, data=tmp_path / "data", latency=False, jobs=1)

    assert not result.layers
    assert any("bundle shows no layers" in note for note in result.notes)
