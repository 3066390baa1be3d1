"""Gates, drift and worst samples from rows."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.measure.job import Span
from edgekit.measure.judge import _drift as total_drift
from edgekit.measure.judge import worst_places
from edgekit.pipeline.validation.store import load_rows
from edgekit.pipeline.validation.engine import _drift
from edgekit.pipeline.validation.store import RunStore, write_table
from edgekit.pipeline.validation.stream import duration
from edgekit.validation import gates


def named(found):
    return {gate.metric: gate.limit for gate in found}


def test_stated_gates_replace_defaults_and_the_rest_stays():
    stated = [
        (None, gates.parse("top1_drop <= 3%")[1]),
        ("int8", gates.parse("sqnr_db >= 20")[1]),
        ("fp16", gates.parse("size_mb <= 9")[1]),
    ]
    found = named(gates_of("int8", "classification", stated))
    assert found == {
        "top1_drop": 0.03,
        "sqnr_db": 20,
        "top1_agreement": 0.8,
        "nonfinite": 0,
    }
    assert named(gates_of("fp32", "classification", []))["sqnr_db"] == 60
    assert named(gates_of("fp32", "classification", []))["top1_drop"] == 0.001


def test_a_file_of_no_known_scheme_is_held_to_what_all_are():
    found = named(gates_of(None, None, []))
    assert found == {"sqnr_db": 10, "nonfinite": 0}
    stated = [("int8", gates.parse("size_mb <= 1")[1])]
    assert "size_mb" not in named(gates_of(None, None, stated))


def test_why_something_was_not_measured():
    found = verdict(
        "int8", "classification", [], {"sqnr_db": 30.0}, {}, no_labels="there are no labels"
    )
    by_metric = {result.gate.metric: result for result in found.gates}
    assert by_metric["sqnr_db"].state == "pass"
    assert by_metric["top1_drop"].why == "there are no labels"
    assert not found.passed_strictly


def test_latencies_need_no_labels_and_figures_of_another_task_are_told():
    stated = [gates.parse(text) for text in ("latency_p90_ms <= 12", "map_drop <= 1%")]
    for labels in ("there are no labels", ""):
        found = verdict(
            "int8", "classification", stated, {}, {}, no_labels=labels, untimed="--no-latency"
        )
        whys = {result.gate.metric: result.why for result in found.gates}
        assert whys["latency_p90_ms"] == "--no-latency"
        assert whys["map_drop"] == (labels or "it is no figure of classification")


def test_worst_samples_are_those_of_any_output():
    rows = {
        "parity/0/signal": np.ones(4),
        "parity/0/noise": np.array([0.1, 0.01, 0.0, 0.2]),
        "parity/1/signal": np.ones(4),
        "parity/1/noise": np.array([0.0, 1.0, 0.0, 0.0]),
    }
    found = worst_places(rows, 2, 3)
    assert [row for row, _ in found] == [1, 3, 0]
    assert found[0][1] == pytest.approx(0)
    assert found[2][1] == pytest.approx(10)
    assert worst_places(rows, 2, 0) == []


def test_drift_counts_what_lies_outside():
    columns = _drift([np.array([-3.0, 0, 1, 5]), np.array([0.0, 0.5, 0.5, 1])], -1.0, 2.0)
    assert columns["outside"].tolist() == [2, 0]
    span = Span(role="input", index=0, name="image", low=-1.0, high=2.0)
    drift = total_drift(span, columns)
    assert drift.seen == (-3, 5)
    assert drift.clipped == pytest.approx(0.25)
    assert drift.calibrated == (-1, 2)


def test_rows_are_joined_in_the_order_of_chunks(tmp_path):
    store = RunStore(tmp_path)
    for chunk in (1, 0):
        columns = {
            "index": np.array([2 * chunk, 2 * chunk + 1]),
            "digest": np.zeros((2, 32), np.uint8),
            "labelled": np.array([True, False]),
            "0/metric/x": np.array([chunk, chunk]),
        }
        write_table(store.path(chunk), columns, skipped=[f"bad{chunk}"])
    rows = load_rows(store, [1, 0], 2)
    assert rows.index.tolist() == [0, 1, 2, 3]
    assert rows.candidates[0]["metric/x"].tolist() == [0, 0, 1, 1]
    assert rows.candidates[1] == {}
    assert rows.skipped == ("bad0", "bad1")
    assert load_rows(store, [], 1).samples == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1:01 min"), (3599, "59:59 min"), (7260, "2:01 h")],
)
def test_time_left_in_words(seconds, text):
    assert duration(seconds) == text
