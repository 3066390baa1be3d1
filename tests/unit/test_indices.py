"""Outputs that are indices: which are, how equal they are, and what a verdict makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net

from edgekit.closeness import Variation, merge, spread, sums
from edgekit.contract import Contract, OutputContract
from edgekit.errors import DataError
from edgekit.measure.tasks import class_count, make_metric, say
from edgekit.tflite.indices import output_indices
from edgekit.types import ParityReport, TensorSpec
from edgekit.validation import gates
from edgekit.validation.evidence import Evidence, decide
from edgekit.validation.metrics import Batch, ClassificationMetric, DecisionMetric, Settings
from edgekit.validation.nominal import drawn, equal, merge_drawn, nominal, still_share
from edgekit.validation.parity import summarize

INT32, FLOAT32 = schema.TensorType.INT32, schema.TensorType.FLOAT32


def typed(tensor, dtype):
    tensor.raw.type = dtype
    return tensor


def arg_max(net: Net, source):
    axis = net.constant("axis", np.array(1, np.int32))
    options = schema.ArgMaxOptionsT(outputType=INT32)
    return typed(net.operator("ARG_MAX", [source, axis], "best", (1,), options), INT32)


def test_the_graph_says_which_outputs_name_things(tmp_path: Path) -> None:
    net = Net(1, 10)
    best = arg_max(net, net.image)
    real = net.operator("CAST", [best], "real", (1,), schema.CastOptionsT())
    one = net.constant("one", np.array([1], np.float32))
    counted = net.operator("ADD", [real, one], "counted", (1,), schema.AddOptionsT())
    halved = net.operator("MUL", [real, one], "halved", (1,), schema.MulOptionsT())
    rounded = net.operator("ROUND", [net.image], "rounded", (1, 10))
    age = typed(net.operator("CAST", [rounded], "age", (1, 10), schema.CastOptionsT()), INT32)
    count = net.constant("k", np.array(3, np.int32))
    values = net.graph.add_tensor("values", (1, 3), "float32")
    places = net.graph.add_tensor("places", (1, 3), "int32")
    net.graph.insert_operator(
        len(net.graph.operators), "TOPK_V2", [net.image, count], [values, places]
    )
    sure = typed(net.operator("GREATER", [net.image, one], "sure", (1, 10)), schema.TensorType.BOOL)
    outputs = (best, real, counted, halved, age, values, places, sure)
    path = net.save(tmp_path / "net.tflite", *outputs)
    found = dict(zip((one.name for one in outputs), output_indices(path), strict=True))
    assert found == {
        "best": True,
        "real": True,
        "counted": True,
        "halved": False,
        "age": False,
        "values": False,
        "places": True,
        "sure": True,
    }


def verdict(wanted, got, *, scheme="int8", as_indices=True):
    """What a file is told whose only output is this."""
    figures = nominal(equal(wanted, got), drawn(wanted)["answer"]) if as_indices else None
    output = summarize(
        "y",
        sums(wanted, got, channel=-1),
        [str(n) for n in range(len(wanted))],
        scores=False,
        variation=Variation(spread(wanted, -1)),
        coarse=True,
        indices=figures,
    )
    parity = ParityReport(
        reference="r", candidate="c", data="d", samples=len(wanted), outputs=(output,)
    )
    values = gates.metrics(parity, None, size_bytes=1, integer_share=None)
    return decide(
        gates.for_file(scheme, None, [], allow_float=True),
        values,
        {"index_agreement": figures.interval} if figures and figures.interval else {},
        scheme=scheme,
        task=None,
        parity=parity,
        evidence=Evidence(samples=len(wanted), distinct=len(wanted)),
    )


@pytest.fixture
def answers():
    """40 samples of 100 indices up to 8,400."""
    return np.random.default_rng(0).integers(0, 8400, (40, 100))


def test_hardly_any_other_index_passes_though_numbers_would_say_that_all_is_lost(answers) -> None:
    got = answers.copy()
    got[np.random.default_rng(1).random(got.shape) < 0.007] = 10**5
    assert 0.99 < (got == answers).mean() < 0.996
    assert verdict(answers, got, as_indices=False).state == "fail"
    found = verdict(answers, got)
    assert found.state == "pass"
    assert "centred_sqnr_db" not in {one.gate.metric for one in found.gates}


def test_shuffled_and_shifted_indices_fail(answers) -> None:
    shuffled = np.random.default_rng(2).permutation(answers.ravel()).reshape(answers.shape)
    for got in (shuffled, answers + 1, np.roll(answers, 1, axis=1), np.zeros_like(answers)):
        assert verdict(answers, got).state == "fail"


def test_a_map_that_is_mostly_background_is_no_excuse() -> None:
    rng = np.random.default_rng(3)
    wanted = (rng.random((40, 400)) < 0.04).astype(np.int64) * rng.integers(1, 4, (40, 400))
    constant = np.zeros_like(wanted)
    assert (constant == wanted).mean() > 0.95
    failed = {one.gate.metric for one in verdict(wanted, constant).gates if one.state == "fail"}
    assert failed == {"index_skill", "indices_lost"}
    assert verdict(wanted, wanted).state == "pass"


def test_two_of_many_classes_swapped_are_lost() -> None:
    wanted = np.arange(600)[:, None] % 60
    got = np.where(wanted == 7, 8, np.where(wanted == 8, 7, wanted))
    failed = {one.gate.metric for one in verdict(wanted, got).gates if one.state == "fail"}
    assert failed == {"indices_lost"}


def test_answers_that_are_always_the_same_prove_nothing() -> None:
    wanted = np.full((40, 3), 5)
    found = verdict(wanted, wanted)
    assert found.state == "not proven"
    assert verdict(wanted, wanted + 1).state == "fail"


def test_no_still_answer_has_half_a_skill() -> None:
    """Whatever the shares are: the bound that the gate's limit stands on."""
    rng = np.random.default_rng(4)
    for _ in range(30):
        shares = rng.dirichlet(np.full(rng.integers(2, 30), rng.choice([0.1, 1, 10])))
        wanted = rng.choice(len(shares), (64, 20), p=shares)
        often = np.bincount(wanted.ravel()).argmax()
        found = nominal(equal(wanted, np.full_like(wanted, often)), drawn(wanted)["answer"])
        assert found.skill is None or found.skill < 0.52


def test_the_share_of_still_answers_is_that_of_equal_pairs(answers) -> None:
    few = answers[:12] % 5
    pairs = [(few[a] == few[b]).mean() for a in range(12) for b in range(12) if a != b]
    assert still_share(few) == pytest.approx(np.mean(pairs))


def test_draws_add_up_and_stay_small() -> None:
    rng = np.random.default_rng(5)
    whole = rng.integers(0, 4, (300, 50))
    found = drawn(whole[:100])
    for start in (100, 200):
        found = merge_drawn(found, drawn(whole[start : start + 100]))
    assert found["answer"].shape == (64, 50)
    assert still_share(found["answer"]) == pytest.approx(0.25, abs=0.02)
    assert drawn(rng.integers(0, 4, (3, 300_000)))["answer"].shape == (2, 32_768)
    # what is added up of real numbers is another thing
    assert "mean" in merge(spread(whole[:2], -1), spread(whole[2:4], -1))


def test_a_decision_in_the_graph_has_accuracy_and_agreement() -> None:
    reference = np.array([[1], [2], [3], [3]], np.int32)
    candidate = np.array([[1], [2], [3], [0]], np.int32)
    batch = Batch(
        index=range(4), reference=[reference], candidate=[candidate], labels=[1, 2, None, 3]
    )
    metric = DecisionMetric()
    found = metric.summarize(metric.measure(batch), Settings(draws=100)).values
    assert found["top1_agreement"] == 3 / 4
    assert found["top1_accuracy"] == pytest.approx(2 / 3)
    assert found["reference_top1_accuracy"] == 1
    assert found["top1_drop"] == pytest.approx(1 / 3)
    with pytest.raises(DataError, match="not a class number"):
        metric.measure(replace(batch, reference=[np.zeros((4, 5), np.int32)]))


def test_only_a_whole_number_is_a_decision() -> None:
    def of(shape, dtype):
        spec = TensorSpec(name="y", shape=shape, dtype=dtype)
        return Contract(outputs=(OutputContract(tensor=spec, task="classification"),))

    decided = of((1, 1), "int64")
    assert isinstance(make_metric(decided, samples=1), DecisionMetric)
    assert (say(decided, [np.array([7])]), class_count(decided)) == ("class 7", None)
    assert isinstance(make_metric(of((1, 1), "float32"), samples=1), ClassificationMetric)
    assert isinstance(make_metric(of((1, 10), "float32"), samples=1), ClassificationMetric)
    whole = Contract(
        outputs=(OutputContract(tensor=TensorSpec(name="y", shape=(1, 5), dtype="int32")),)
    )
    assert make_metric(whole, samples=1) is None, "five whole numbers are not scores"
