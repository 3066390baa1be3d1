"""The parts of an output that mixes ranges: put together, compared, held against gates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.contract import Contract, OutputContract, OutputPart
from edgekit.pipeline import parts
from edgekit.types import Binding, TensorSpec
from edgekit.validation import gates
from edgekit.validation.parity import compare


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


@given(st.data())
def test_what_was_cut_is_put_together_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder: Path = tmp_path_factory.mktemp("parts")
    shape = data.draw(st.tuples(st.just(1), st.integers(2, 5), st.integers(2, 5)))
    axis = data.draw(st.integers(1, 2))
    edge = data.draw(st.integers(1, shape[axis] - 1))
    batched = data.draw(st.booleans())
    whole = np.arange(3 * np.prod(shape)).reshape(3, *(shape[1:] if batched else shape))
    other = np.arange(3.0)[:, None]
    cut = np.split(whole, [edge], axis=axis - len(shape))
    stacks = [other, *cut]
    contract = Contract(
        outputs=(
            OutputContract(tensor=TensorSpec(name="other", shape=(1, 1))),
            *(
                OutputContract(
                    tensor=TensorSpec(name=f"y/{number}", shape=shape),
                    part=OutputPart(of="y", axis=axis, start=start, size=size),
                )
                for number, (start, size) in enumerate([(0, edge), (edge, shape[axis] - edge)])
            ),
        )
    )
    files = [folder / f"output_{number}.npy" for number in range(3)]
    for file, stack in zip(files, stacks, strict=True):
        np.save(file, stack)
    specs = [
        TensorSpec(name="other", shape=(1, 1)),
        *(TensorSpec(name="", shape=(1, *stack.shape[-2:])) for stack in cut),
    ]
    outputs, paths = parts.assemble(contract, specs, files)
    assert [output.name for output in outputs] == ["other", "y"]
    assert outputs[1].shape == shape
    np.testing.assert_array_equal(np.load(paths[0]), other)
    np.testing.assert_array_equal(np.load(paths[1]), whole)


def test_a_file_without_parts_is_as_it_is(tmp_path: Path) -> None:
    spec, file = TensorSpec(name="y", shape=(1, 2)), tmp_path / "y.npy"
    assert parts.assemble(None, [spec], [file]) == ((spec,), (file,))


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
    np.save(tmp_path / "a.npy", wanted[:, None] if batch else wanted)
    np.save(tmp_path / "b.npy", turned[:, None] if batch else turned)
    report = compare(
        reference="framework",
        candidate="int8",
        data="",
        samples=["one", "two"],
        reference_files=[tmp_path / "a.npy"],
        candidate_files=[tmp_path / "b.npy"],
        bindings=[Binding(reference="y", candidate="y", permutation=permutation)],
        parts={"y": [(1, 0, 4), (1, 4, 3)]},
    )
    (output,) = report.outputs
    boxes, scores = output.parts
    assert boxes.sqnr_db == pytest.approx(boxes_db)
    assert scores.sqnr_db == pytest.approx(0)
    assert output.sqnr_db > 40
    measured = gates.metrics(report, None, size_bytes=1, integer_share=None)
    assert measured["sqnr_db"] == pytest.approx(0)
    assert not gates.judge(gates.for_file("int8", None, ()), measured).passed
