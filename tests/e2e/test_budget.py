"""The accuracy budget on a classifier that was really trained: it holds where plain int8 fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import UsageError
from edgekit.results import ConversionResult, FileResult
from edgekit.types import INT8_SCHEMES

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from quantize_nets import Net, photos

from .conftest import Digits, tflite_outputs

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def floating(
    torch_digits: Path, digits_nchw: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    made = edgekit.convert(
        f"{torch_digits}/digits_net.py:build",
        weights=torch_digits / "weights.pt",
        inputs=["image:1x1x8x8"],
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nchw,
        task="classification",
        schemes=["fp32"],
        output=tmp_path_factory.mktemp("budget") / "float",
    )
    return made.files[0].artifact.path


@pytest.fixture(scope="module")
def samples(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nhwc") / "samples.npz"
    np.savez(path, image=digits.images[digits.test][..., None], labels=digits.labels[digits.test])
    return path


def _quantize(model: Path, samples: Path, output: Path, **wishes: Any) -> ConversionResult:
    return edgekit.convert(
        model,
        calibration=samples,
        samples=128,
        parity_samples=128,
        task="classification",
        schemes=["int8-float-io"],
        output=output,
        **wishes,
    )


def _decibels(path: Path, floating: Path, digits: Digits) -> float:
    """By hand, on all held-out digits."""
    images = digits.images[digits.test][..., None]
    wanted, given = tflite_outputs(floating, images), tflite_outputs(path, images)
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - given).sum()))


def _only(result: ConversionResult) -> FileResult:
    (file,) = result.files
    return file


def test_a_budget_that_plain_int8_fails_is_held(
    floating: Path, samples: Path, digits: Digits, tmp_path: Path
) -> None:
    plain = _only(_quantize(floating, samples, tmp_path / "plain", effort="none"))
    thorough = _only(_quantize(floating, samples, tmp_path / "thorough", effort="thorough"))
    wanted = max(plain.metrics["centred_sqnr_db"], thorough.metrics["centred_sqnr_db"]) + 1.5
    result = _quantize(floating, samples, tmp_path / "held", min_sqnr=wanted)
    file = _only(result)
    assert result.passed, [(rung.number, rung.kept, rung.metrics) for rung in result.ladder]
    assert file.metrics["centred_sqnr_db"] >= wanted
    assert _decibels(file.artifact.path, floating, digits) > wanted - 1  # on other samples too
    assert [rung.effort for rung in result.ladder[:3]] == ["fast", "balanced", "thorough"]
    last = result.ladder[-1]
    assert last.passed
    assert last.kept
    assert not any(rung.passed for rung in result.ladder[:-1])
    kept = {one.output for one in file.kept_float}
    assert kept >= {name for one in last.kept if one.precision == "float" for name in one.members}

    # The rung is made again from what the report says about it.
    again = _quantize(
        floating,
        samples,
        tmp_path / "again",
        effort=last.effort,
        ranges=last.ranges,
        keep_float=[name for k in last.kept if k.precision == "float" for name in k.members],
        keep_int16=[name for k in last.kept if k.precision == "int16" for name in k.members],
    )
    assert _only(again).artifact.sha256 == file.artifact.sha256


def test_a_budget_that_nothing_holds_ends_with_the_best_file(
    floating: Path, samples: Path, tmp_path: Path
) -> None:
    result = _quantize(floating, samples, tmp_path / "out", min_sqnr=250)
    file = _only(result)
    assert not result.passed
    assert file.artifact.path.exists()
    best = max(rung.metrics["int8-float-io"]["centred_sqnr_db"] for rung in result.ladder)
    assert file.metrics["centred_sqnr_db"] == best
    assert all("centred_sqnr_db >= 250" in rung.misses[0] for rung in result.ladder)


def test_an_easy_budget_is_held_on_the_first_rung(
    floating: Path, samples: Path, tmp_path: Path
) -> None:
    result = _quantize(floating, samples, tmp_path / "out", max_drop=0.05, min_agreement=0.9)
    assert [rung.effort for rung in result.ladder] == ["fast"]
    gates = {result.gate.metric for result in _only(result).verdict.gates}
    assert gates >= {"drop", "top1_agreement"}


def test_a_mix_is_better_than_plain_int8_on_samples_that_chose_nothing(
    floating: Path, samples: Path, tmp_path: Path
) -> None:
    result = edgekit.convert(
        floating,
        calibration=samples,
        samples=64,
        task="classification",
        schemes=["int8-float-io", "int8-mixed"],
        effort="fast",
        output=tmp_path / "out",
    )
    plain, mixed = result.files
    assert mixed.metrics["centred_sqnr_db"] > plain.metrics["centred_sqnr_db"]
    (chosen,) = [point for point in result.front if point.chosen]
    assert [point.db for point in result.front] == sorted(point.db for point in result.front)
    assert {one.output for one in mixed.kept_float} >= {
        name for layer in chosen.layers for name in layer.members
    }


def test_pixels_count_where_the_task_is_segmentation(tmp_path: Path) -> None:
    net = Net(1, 16, 16, 3)
    layer = net.conv(net.image, "layer", 8, activation="RELU")
    model = net.save(tmp_path / "net.tflite", net.conv(layer, "planes", 4, kernel=1))
    images = np.abs(photos(48, 16, 16, 3))
    np.save(tmp_path / "calibration.npy", images[:32])
    np.save(tmp_path / "parity.npy", images[32:])
    result = edgekit.convert(
        model,
        calibration=tmp_path / "calibration.npy",
        parity=tmp_path / "parity.npy",
        task="segmentation",
        schemes=["int8-float-io"],
        max_drop=0.2,
        output=tmp_path / "out",
    )
    file = _only(result)
    (gate,) = [one for one in file.verdict.gates if one.gate.metric == "pixel_agreement"]
    assert (gate.state, gate.gate.limit, len(result.ladder)) == ("pass", 0.8, 1)
    wanted, given = (
        tflite_outputs(path, images[32:]).argmax(-1) for path in (model, file.artifact.path)
    )
    assert file.metrics["pixel_agreement"] == pytest.approx((wanted == given).mean())
    assert result.ladder[0].metrics["int8-float-io"] == file.metrics


@pytest.mark.parametrize("wish", [{"max_drop": 0.01}, {"max_latency": 1.5}, {"keep_float": ["x"]}])
def test_a_budget_without_an_int8_scheme_is_refused(
    floating: Path, samples: Path, tmp_path: Path, wish: dict[str, Any]
) -> None:
    assert "fp16" not in INT8_SCHEMES.values()
    with pytest.raises(UsageError, match="int8"):
        edgekit.convert(
            floating, calibration=samples, schemes=["fp16"], output=tmp_path / "out", **wish
        )
