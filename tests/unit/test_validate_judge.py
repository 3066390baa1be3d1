"""Gates, drift and worst samples from rows."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.measure.job import Span
from edgekit.measure.judge import Judged, verdict, worst_places
from edgekit.measure.judge import _drift as total_drift
from edgekit.measure.rows import drift
from edgekit.pipeline.validation.store import RunStore, load_rows, write_table
from edgekit.pipeline.validation.stream import duration
from edgekit.types import OutputParity, ParityReport
from edgekit.validation import gates
from edgekit.validation.evidence import Evidence, distinct, marks


def judged(output=None, **evidence) -> Judged:
    """A candidate with one output that equals the reference's, on enough samples."""
    known = {"samples": 40, "distinct": 40} | evidence
    return Judged(
        parity=ParityReport(
            reference="r",
            candidate="c",
            data="d",
            samples=known["samples"],
            outputs=(output or OutputParity(**EQUAL),),
        ),
        evidence=Evidence(**known),
    )


EQUAL = {
    "name": "y",
    "worst_sample": "s",
    "worst_sqnr_db": 90.0,
    "sqnr_db": 99.0,
    "cosine": 1.0,
    "max_abs": 0.0,
    "mean_abs": 0.0,
}


def decided(scheme, task, stated=(), values=None, given=None, **options):
    wanted = gates.for_file(scheme, task, stated, allow_float=True)
    return verdict(scheme, task, wanted, values or {}, given or judged(), **options)


def test_why_something_was_not_measured():
    found = decided(
        "int8",
        "classification",
        values={"centred_sqnr_db": 30.0},
        no_labels="there are no labels",
    )
    by_metric = {result.gate.metric: result for result in found.gates}
    assert by_metric["centred_sqnr_db"].state == "pass"
    assert by_metric["top1_drop"].why == "there are no labels"
    assert found.passed
    assert not found.passed_strictly


def test_latencies_need_no_labels_and_figures_of_another_task_are_told():
    stated = [gates.parse(text) for text in ("latency_p90_ms <= 12", "map_drop <= 1%")]
    for labels in ("there are no labels", ""):
        found = decided("int8", "classification", stated, no_labels=labels, untimed="--no-latency")
        whys = {result.gate.metric: result.why for result in found.gates}
        assert whys["latency_p90_ms"] == "--no-latency"
        assert whys["map_drop"] == (labels or "it is not a figure of classification")
        assert found.state == "fail", "a stated gate that nobody can measure"


GOOD = {"centred_sqnr_db": 30.0, "nonfinite": 0.0}


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"samples": 1, "distinct": 1}, "Only 1 samples"),
        ({"samples": 12, "distinct": 1}, "only 1 of them"),
        ({"samples": 15, "distinct": 15}, "16 different"),
    ],
)
def test_too_few_samples_prove_nothing(evidence, words):
    found = decided("int8", None, values=GOOD, given=judged(**evidence))
    assert found.state == "not proven"
    assert words in " ".join(found.missing)
    assert decided("int8", None, values=GOOD, given=judged(**evidence), accept_few=True).passed
    worse = {**GOOD, "centred_sqnr_db": 3.0}
    assert decided("int8", None, values=worse, given=judged(**evidence)).state == "fail"


def test_enough_samples_do():
    assert decided("int8", None, values=GOOD, given=judged(samples=16, distinct=16)).passed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"varies": False}, "the same for all samples"),
        ({"reference_nan": 2}, "NaN"),
        ({"decisions": 1}, "same class"),
    ],
)
def test_a_reference_that_says_nothing_proves_nothing(changes, words):
    given = judged(OutputParity(**{**EQUAL, **changes}))
    for few in (False, True):
        values = {**GOOD, "centred_sqnr_db": 90.0}
        found = decided("fp32", "classification", values=values, given=given, accept_few=few)
        assert found.state == "not proven"
        assert words in " ".join(found.missing)


def marked(samples):
    found = [marks([sample]) for sample in samples]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def test_copies_and_pictures_of_one_colour_are_not_counted():
    rng = np.random.default_rng(0)
    pictures = list(rng.random((20, 1, 3, 24, 24)).astype(np.float32))
    assert distinct(marked(pictures)) == 20
    again = [picture + 0.01 * rng.random(picture.shape) for picture in pictures[:5]]
    assert distinct(marked(pictures + again)) == 20
    assert distinct(marked([pictures[0]] * 12)) == 1
    grey = [np.full((1, 3, 24, 24), level, np.float32) for level in np.linspace(0, 1, 9)]
    assert distinct(marked(grey)) == 0
    assert distinct(marked([*pictures[:3], *grey])) == 3
    red = np.zeros((1, 24, 24, 3), np.float32)
    red[..., 0] = 1
    assert distinct(marked([red])) == 0


def test_small_inputs_count_as_they_are():
    scalars = [np.array([[number]], np.float32) for number in range(30)]
    assert distinct(marked(scalars)) == 30
    assert distinct(marked(scalars * 2)) == 30
    assert distinct(marked([np.eye(8, dtype=np.float32) * n for n in range(1, 20)])) == 19


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
    columns = drift([np.array([-3.0, 0, 1, 5]), np.array([0.0, 0.5, 0.5, 1])], -1.0, 2.0)
    assert columns["outside"].tolist() == [2, 0]
    span = Span(role="input", index=0, name="image", low=-1.0, high=2.0)
    found = total_drift(span, columns)
    assert found.seen == (-3, 5)
    assert found.clipped == pytest.approx(0.25)
    assert found.calibrated == (-1, 2)


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
