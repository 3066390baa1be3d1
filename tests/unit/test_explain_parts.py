"""The parts of an explanation against figures that are known by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.pipeline.explain.run import _used
from edgekit.provenance.lock import Lock, LockedFile
from edgekit.provenance.text import to_text
from edgekit.report.explain import model_explorer, to_html, to_json
from edgekit.validation.explain import relations
from edgekit.validation.explain.causes import Symptoms, advice, diagnose
from edgekit.validation.explain.matching import departure, match
from edgekit.validation.explain.points import (
    Explanation,
    OpFinding,
    Point,
    StageFinding,
    Trace,
)
from edgekit.validation.explain.scaled import _of_mixing
from edgekit.validation.explain.split import SOURCES, ErrorSplit

RNG = np.random.default_rng(0)


def point(folder: Path, name: str, stack: np.ndarray, scale: float = 0.0, zero: int = 0) -> Point:
    np.save(folder / f"{name}.npy", stack)
    return Point(
        name=name,
        operator="CONV_2D",
        file=folder / f"{name}.npy",
        shape=stack.shape[1:],
        scale=scale,
        zero_point=zero,
    )


def trace(folder: Path, stage: str, **stacks: np.ndarray) -> Trace:
    inner = folder / stage
    inner.mkdir()
    points = tuple(point(inner, name, stack) for name, stack in stacks.items())
    return Trace(stage=stage, points=points, samples=len(next(iter(stacks.values()))))


def test_a_point_is_dequantized(tmp_path: Path) -> None:
    stored = np.array([[[-128, 0, 127]]], np.int8)
    assert point(tmp_path, "x", stored, 0.5, -128).values(0).tolist() == [[0.0, 64.0, 127.5]]


def test_the_parts_of_an_error_are_told_apart(tmp_path: Path) -> None:
    # Scale 1, zero point 0: -128 … 127 in whole steps.
    got = point(tmp_path, "y", np.array([[10, 127, 4, 3]], np.int8), 1.0)
    stepped = np.array([10.0, 150.0, 4.0, 3.4])
    weighted = np.array([10.0, 150.0, 7.0, 3.4])  # the third by other weights, and then a rest
    split = ErrorSplit()
    split.add(np.array([9.0, 150.0, 4.0, 3.4]), stepped, weighted, got.values(0), point=got)
    assert split.inherited == pytest.approx(1.0)
    assert split.parts["weights"] == pytest.approx(9.0)
    assert split.parts["clipping"] == pytest.approx(23.0**2)
    assert split.parts["rounding"] == pytest.approx(0.4**2)
    assert split.parts["rest"] == pytest.approx(9.0)
    assert split.steps == pytest.approx(3.0)
    assert split.clipped == pytest.approx(0.25)
    assert split.would_clip == pytest.approx(23.0**2)


@given(arrays(np.float64, (3, 6), elements=st.floats(-9, 9)), st.floats(0.01, 1))
def test_inherited_and_added_make_up_the_whole(values: np.ndarray, scale: float) -> None:
    reference, stepped, candidate = values
    split = ErrorSplit()
    real = Point(name="y", operator="ADD", file=Path(), shape=(6,))
    split.add(reference, stepped, stepped, candidate, point=real)
    assert sum(split.parts[name] for name in SOURCES) == pytest.approx(split.added)
    whole = float(np.sum(np.square((stepped - reference) + (candidate - stepped))))
    assert split.total == pytest.approx(whole, abs=1e-9)


def test_turned_tensors_are_recognised() -> None:
    value = RNG.normal(size=(2, 4, 5, 6))
    assert relations.turned(value, value) is None
    assert relations.turned(value, value.transpose(0, 2, 1, 3)) == (0, 2, 1, 3)
    # A RESHAPE where a transposition was needed: the values of NCHW laid into NHWC's shape.
    assert relations.turned(value, value.transpose(0, 3, 1, 2).reshape(value.shape)) == (0, 3, 1, 2)
    assert relations.turned(value, RNG.normal(size=value.shape)) is None


def test_a_difference_at_the_border_is_one_only_if_the_middle_is_right() -> None:
    value = RNG.normal(size=(1, 8, 8, 3))
    rim = value.copy()
    rim[:, 0] += 1
    assert relations.at_the_border(value, rim)
    assert not relations.at_the_border(value, value + RNG.normal(0, 0.3, value.shape))


def test_affine_channels() -> None:
    value = RNG.normal(size=(2, 4, 4, 3))
    found = relations.affine(value, value * [1.0, 2.0, 3.0] + [0.0, 1.0, -1.0])
    assert found is not None
    assert np.allclose(found[0], [1, 2, 3])
    assert np.allclose(found[1], [0, 1, -1])
    assert relations.affine(value, RNG.normal(size=value.shape)) is None


def test_names_decide_and_values_find_the_rest(tmp_path: Path) -> None:
    one, two, three = (RNG.normal(size=(2, 1, 3, 5, 7)) for _ in range(3))
    before = trace(tmp_path, "before", a=one, b=two, c=three)
    after = trace(
        tmp_path,
        "after",
        a=one.transpose(0, 1, 3, 4, 2),
        other=three.transpose(0, 1, 3, 4, 2) + 1e-4,
        new=RNG.normal(size=(2, 1, 5, 7, 3)),
    )
    found = {m.candidate: (m.reference, m.permutation, m.how) for m in match(before, after)}
    assert found == {"a": ("a", (0, 2, 3, 1), "name"), "other": ("c", (0, 2, 3, 1), "measured")}


def test_by_values_an_activation_is_not_its_convolution(tmp_path: Path) -> None:
    """Nine tenths of the convolution's energy are in what its activation keeps."""
    plain = RNG.normal(1.0, 0.7, size=(2, 1, 4, 4, 8))
    kept = np.maximum(plain, 0)
    before = trace(tmp_path, "before", layer=kept, flat=kept.reshape(2, 1, 128))
    after = trace(tmp_path, "after", conv=plain, relu=kept + 1e-6, flat_=kept.reshape(2, 1, 128))
    found = match(before, after)
    assert [(one.reference, one.candidate) for one in found] == [
        ("layer", "relu"),
        ("flat", "flat_"),
    ]
    assert departure(before, after, found).departs is None


def test_of_several_told_names_the_closest_counts(tmp_path: Path) -> None:
    plain = RNG.normal(size=(2, 1, 6))
    before = trace(tmp_path, "before", conv=plain, relu=np.maximum(plain, 0))
    after = trace(tmp_path, "after", fused=np.maximum(plain, 0) + 1e-6)
    (found,) = match(before, after, {"fused": ["conv", "relu"]})
    assert (found.reference, found.how) == ("relu", "told")


def test_a_stage_departs_at_the_first_tensor_below_the_limit(tmp_path: Path) -> None:
    values = {name: RNG.normal(size=(2, 1, 6)) for name in "abc"}
    before = trace(tmp_path, "before", **values)
    wrong = {**values, "b": values["b"] * 2, "c": values["c"] * 3}
    after = trace(tmp_path, "after", **wrong)
    found = departure(before, after, match(before, after))
    assert (found.departs, found.from_db) == ("b", 200.0)
    assert found.departs_db == pytest.approx(0.0)


def evidence(tmp_path: Path, **changes: object) -> Symptoms:
    """An int8 result that is 20 steps off, though weights and ranges are right."""
    value = RNG.integers(-60, 60, (2, 40)).astype(np.int8)
    got = (value + 20).astype(np.int8)
    target = point(tmp_path, "y", got, 1.0)
    split = ErrorSplit()
    for sample in range(2):
        wanted = value[sample].astype(np.float64)
        split.add(wanted, wanted, wanted, target.values(sample), point=target)
    real = value.astype(np.float64)
    plain = {"stepped": real, "weighted": real, "candidate": got.astype(np.float64)}
    return Symptoms(split=split, point=target, **{**plain, **changes})  # type: ignore[arg-type]


def test_a_kernel_is_blamed_only_if_plain_c_answers_otherwise(tmp_path: Path) -> None:
    assert diagnose(evidence(tmp_path, kernel_steps=20.0))[0] == "kernel"
    assert diagnose(evidence(tmp_path, kernel_steps=0.0))[0] == "unexplained"
    assert diagnose(evidence(tmp_path, structure="It has an extra TRANSPOSE."))[0] == (
        "transposed-layout"
    )


def test_biases_at_the_end_of_32_bits_explain_large_steps(tmp_path: Path) -> None:
    cause, why = diagnose(evidence(tmp_path, full_biases=2, kernel_steps=0.0))
    assert cause == "bias-overflow"
    assert "20 steps" in why


def explanation() -> Explanation:
    ops = tuple(
        OpFinding(
            name=name,
            operator="CONV_2D",
            place=place,
            total_db=total,
            inherited_db=50.0,
            added_db=added,
            sources={"weights": 0.9, "rounding": 0.1, "clipping": 0.0, "rest": 0.0},
            cause=cause,
            why="Because <b>.",
            advice="Try.",
        )
        for name, place, total, added, cause in (
            ("image", -1, 55.0, 55.0, "none"),
            ("first", 0, 40.0, 41.0, "none"),
            ("<second>", 1, 3.0, 3.0, "weights-corrupted"),
            ("third", 2, 4.0, 30.0, "none"),
        )
    )
    stage = StageFinding(reference="a", candidate="b", matches=(), compared=3, departs="<second>")
    return Explanation(
        candidate="b",
        reference="a",
        graph="main",
        samples=("one",),
        stages=(stage,),
        ops=ops,
        outputs_db={"third": 4.0},
        verdict="The first bad operator is <second>.",
    )


def test_the_worst_are_faults_first_then_by_what_they_add() -> None:
    assert [op.name for op in explanation().worst] == ["<second>", "third", "first", "image"]


def test_the_page_loads_nothing_and_escapes_names() -> None:
    page = to_html(explanation())
    assert "<second>" not in page
    assert "&lt;second&gt;" in page
    assert page.count("<script>") == page.count("<script") == 1  # the search, which is our own
    assert "http" not in page
    assert page.count("<circle") == 1


def test_json_names_the_first_bad_operator() -> None:
    document = json.loads(to_json(explanation()))
    assert (document["schema"], document["first"]) == ("edgekit-explain", "<second>")
    assert document["ops"][2]["sources"]["weights"] == 0.9


def test_a_stage_before_the_candidate_that_departs_is_the_answer() -> None:
    found = explanation()
    assert (found.why, found.advice) == ("Because <b>.", "Try.")
    (last,) = found.stages
    earlier = replace(last, candidate="ONNX", departs="conv")
    found = replace(found, stages=(earlier, last))
    assert found.why == ""
    assert "before quantization" in found.advice
    page = to_html(found)
    assert "before quantization" in page
    assert "What to try: Try." not in page


def test_node_data_for_model_explorer() -> None:
    # As in node_data_builder.py of ai-edge-model-explorer 0.1.34: graph → results by tensor name.
    data = json.loads(model_explorer(explanation()))
    (graph,) = data.values()
    assert list(data) == ["main"]
    assert {name: entry["value"] for name, entry in graph["results"].items()} == {
        "first": 41.0,
        "<second>": 3.0,
        "third": 30.0,
    }
    assert [step["stop"] for step in graph["gradient"]] == [0, 0.5, 1]
    assert set(graph["results"]["<second>"]) == {"value", "bgColor", "textColor"}


def test_the_very_same_weights_undo_no_factors() -> None:
    """Spoiled tensors may look scaled; where a reader's weights were not changed, they are not."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        weights = rng.normal(0, 0.3, (24, 1, 1, 40)).astype(np.float32)
        seen = np.exp(rng.normal(0, 0.3, 40))
        assert _of_mixing(weights, weights.copy(), seen) is None
        undone = _of_mixing(weights, weights / seen.astype(np.float32), seen)
        np.testing.assert_allclose(undone, seen, rtol=1e-3)


@pytest.mark.parametrize(
    ("made", "left"),
    [
        ({"effort": "fast"}, ["balanced", "thorough", "--keep-float"]),
        ({"effort": "balanced"}, ["thorough", "--keep-float"]),
        ({"effort": "thorough", "ranges": "minmax"}, ["--keep-float"]),
    ],
)
def test_what_was_done_already_is_not_advised(
    tmp_path: Path, made: dict[str, str], left: list[str]
) -> None:
    file = LockedFile(name="net_int8.tflite", scheme="int8", sha256="a" * 64, size_bytes=9)
    lock = Lock(edgekit="1", command="edgekit convert", request=made, files=(file,))
    (tmp_path / "edgekit.lock").write_text(to_text(lock), encoding="utf-8")
    used = _used(tmp_path / "net_int8.tflite")
    said = advice("weights-coarse", used)
    assert [word for word in ("balanced", "thorough", "--keep-float") if word in said] == left
    assert ("minmax" in advice("saturation", used)) == ("ranges" not in made)
    assert _used(tmp_path / "another.tflite") == ()
