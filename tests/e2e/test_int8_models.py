"""int8 on a network that the engine was not developed on, trained here: the benchmark in small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from .conftest import REPOSITORY

pytestmark = pytest.mark.e2e


def test_balanced_is_no_worse_than_stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import int8_models
    from models import zoo

    photos = zoo.Photos(seen=(), unseen=())  # the signals are computed
    (signals,) = (member for member in zoo.ZOO if member.name == "signals")
    net = zoo.trained(
        replace(signals, epochs=1), photos, tmp_path / "cache", calibration=48, evaluation=128
    )
    rows, accuracy = int8_models.measure(net, ["stock", "balanced"])
    assert accuracy > 0.9
    assert rows["balanced"].worst_db > rows["stock"].worst_db + 1
    assert rows["balanced"].worst_db > 20
    assert rows["balanced"].scores.mean() > accuracy - 0.03


def test_a_regression_is_told_from_noise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import int8_models

    rng = np.random.default_rng(0)
    signal = np.ones((1, 1, 200))
    noise = rng.uniform(0.5, 1.5, (1, 1, 200))

    def row(factor: float, more: np.ndarray | float = 0.0) -> int8_models.Row:
        energies = np.concatenate([signal, factor * noise + more], axis=1)
        return int8_models.Row(made=None, energies=energies, scores=noise[0, 0], latency=1.0)

    one_bad_sample = np.where(np.arange(200) == 7, 20.0, 0.0)
    rows = {"stock": row(1.0), "worse": row(1.1), "unsure": row(1.0, one_bad_sample)}
    (found,) = int8_models.worse_than_stock("net", rows)
    assert (found.network, found.row) == ("net", "worse")
    assert found.decibels == pytest.approx(10 * np.log10(1.1))


def test_a_file_in_which_the_runtime_stops_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import int8_models
    from int8_rows import Made

    def stops(*_: object) -> None:
        raise RuntimeError("div.cc:262 data[i] != zero_point was not true")

    monkeypatch.setattr(int8_models, "outputs", stops)
    assert int8_models._runs(Made(title="stock", path=tmp_path), []) == []
    assert "stock: stops with div.cc:262" in capsys.readouterr().out
