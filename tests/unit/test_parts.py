"""The parts of an output that mixes ranges: put together, compared, held against gates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measuring import reference_of

from edgekit.measure import parts
from edgekit.pipeline.candidates import compare_stacks
from edgekit.types import Binding, TensorSpec
from edgekit.validation import gates


def _told(*outputs: int | None, did: str = "cut into 2 parts") -> dict[str, object]:
    tensors = [
        {
            "tensor": f"tensor{output}",
            "output": output,
            "axis": 2,
            "parts": [
                {"start": 0, "size": 4, "low": 0.0, "high": 600.0},
                {"start": 4, "size": 3, "low": 0.0, "high": 0.9},
            ],
            "did": did,
        }
        for output in outputs
    ]
    return {"tensors": tensors, "cut": ["int8"], "joined": {"int8-float-io": "joined in float"}}


def test_places_of_parts_among_the_outputs_of_a_file() -> None:
    mixed = parts.told_by(_told(1, None))
    assert [one.output for one in mixed.outputs] == [1]
    assert mixed.cut_in("int8-float-io") == ()
    assert parts.slots(4, mixed.cut_in("int8")) == [(0, None), (1, 0), (1, 1), (2, None)]
    assert parts.slots(3, ()) == [(0, None), (1, None), (2, None)]
    left_whole = parts.told_by(_told(1, did="nothing: cannot be cut"))
    assert left_whole.cut_in("int8") == ()


def test_what_the_user_is_told() -> None:
    (note,) = parts.told_by(_told(0)).notes()
    assert "0…3 hold 0…600; 4…6 hold 0…0.9" in note
    assert "In int8 each part is an output" in note
    assert "In int8-float-io they are joined in float." in note
    (warning,) = parts.told_by(_told(0, did="nothing: found only")).notes()
    assert "int8 loses the smaller values" in warning


def test_parts_on_the_axes_of_the_framework() -> None:
    """The file has (1, 8, 8, 7) for the framework's (1, 7, 8, 8)."""
    told = _told(0)
    told["tensors"][0]["axis"] = 3  # type: ignore[index]
    binding = Binding(reference="y", candidate="z", permutation=(0, 2, 3, 1))
    found = parts.of_reference(parts.told_by(told).outputs, [binding])
    assert found == {"y": [(1, 0, 4), (1, 4, 3)]}


@pytest.mark.parametrize("permutation", [(0, 1, 2), (0, 2, 1)])
@pytest.mark.parametrize("batch", [True, False])
def test_dead_scores_beside_good_boxes_fail_the_gate(
    tmp_path: Path, permutation: tuple[int, ...], batch: bool
) -> None:
    """Stacks of one sample each, with and without a batch axis, turned or not."""
    rng = np.random.default_rng(0)
    wanted = np.concatenate([rng.uniform(0, 600, (2, 4, 9)), rng.uniform(0, 1, (2, 3, 9))], axis=1)
    got = wanted + np.concatenate([np.full((2, 4, 9), 1.0), -wanted[:, 4:]], axis=1)
    boxes_db = 10 * np.log10(np.sum(wanted[:, :4] ** 2) / 72)
    turned = got.transpose(permutation)
    np.save(tmp_path / "b.npy", turned[:, None] if batch else turned)
    reference = reference_of(tmp_path, wanted[:, None] if batch else wanted, shape=(1, 7, 9))
    spec = TensorSpec(name="y", shape=(1, *turned.shape[1:]))
    parts_ = {"y": [(1, 0, 4), (1, 4, 3)]}
    report = compare_stacks(
        reference, [spec], [tmp_path / "b.npy"], name="int8", parts=parts_
    ).parity
    (output,) = report.outputs
    boxes, scores = output.parts
    assert boxes.sqnr_db == pytest.approx(boxes_db)
    assert scores.sqnr_db == pytest.approx(0)
    assert output.sqnr_db > 40
    measured = gates.metrics(report, None, size_bytes=1, integer_share=None)
    assert measured["sqnr_db"] == pytest.approx(0)
    results = gates.judge(gates.for_file("int8", None, ()), measured)
    assert "fail" in {one.state for one in results if one.gate.metric == "centred_sqnr_db"}


@pytest.mark.parametrize("shape", [(2, 1, 5), (3, 4, 5), (1, 4, 5)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_parts_are_joined_along_every_axis(shape: tuple[int, ...], axis: int) -> None:
    """Of a part that is one entry of the first axis, runners give that axis to the samples."""
    samples = np.random.default_rng(0).normal(0, 1, (6, *shape))

    def given(values: np.ndarray) -> np.ndarray:
        return values[:, 0] if values.shape[1] == 1 else values

    cut = [given(part) for part in np.split(samples, range(1, shape[axis]), axis=axis + 1)]
    found = parts.joined(cut, axis - len(shape))
    np.testing.assert_array_equal(found.reshape(samples.shape), samples)
    assert parts.joined([given(samples)], None).size == samples.size
