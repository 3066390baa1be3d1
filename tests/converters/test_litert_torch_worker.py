"""The litert-torch converter, in the isolated environment that it is made for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from worker_process import WorkerFailure, WorkerProcess

from edgekit.toolchain.converters import discover
from edgekit.toolchain.environments import ensure

if TYPE_CHECKING:
    from collections.abc import Iterator

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    log = tmp_path_factory.mktemp("litert_torch") / "worker.log"
    python = ensure(discover()["litert_torch"]).python
    with WorkerProcess("litert_torch", log, python=python) as process:
        yield process


class Pair(torch.nn.Module):
    """Two inputs and two outputs, named against the alphabet."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.linear = torch.nn.Linear(5, 4)

    def forward(self, picture: Any, numbers: Any) -> dict[str, Any]:
        z = torch.relu(self.convolution(picture)).mean((2, 3))
        return {"z": z, "a": self.linear(numbers) + z[:, :4]}


class Many(torch.nn.Module):
    """More than ten inputs and outputs: args_10 sorts before args_2."""

    def forward(self, *values: Any) -> tuple[Any, ...]:
        return tuple(value * (index + 1) for index, value in enumerate(values))


def convert(
    worker: WorkerProcess, folder: Path, model: Any, arguments: dict[str, Any]
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The answer, and the file's outputs in the order that the answer tells."""
    program = torch.export.export(model.eval(), tuple(arguments.values()))
    torch.export.save(program, folder / "model.pt2")
    specs = [
        {"name": name, "shape": list(value.shape), "dtype": "float32", "layout": None}
        for name, value in arguments.items()
    ]
    output = folder / "model.tflite"
    result = worker.call(
        "convert",
        artifact=str(folder / "model.pt2"),
        to="tflite",
        output=str(output),
        inputs=specs,
    )
    assert sorted(path.name for path in folder.iterdir()) == ["model.pt2", "model.tflite"]
    interpreter = Interpreter(result["artifact"])
    interpreter.allocate_tensors()
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    for entry in result["inputs"]:
        interpreter.set_tensor(indices[entry["name"]], arguments[entry["source"]].numpy())
    interpreter.invoke()
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
    return result, [interpreter.get_tensor(indices[entry["name"]]) for entry in result["outputs"]]


def test_two_inputs_two_outputs(worker: WorkerProcess, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Pair()
    arguments = {"picture": torch.randn(1, 3, 8, 8), "numbers": torch.randn(1, 5)}
    expected = model(*arguments.values())
    result, found = convert(worker, tmp_path, model, arguments)
    assert [entry["source"] for entry in result["inputs"]] == ["picture", "numbers"]
    assert result["inputs"][0]["shape"] == [1, 3, 8, 8]
    assert result["inputs"][0]["permutation"] == [0, 1, 2, 3]
    for name, value in zip(("z", "a"), found, strict=True):
        np.testing.assert_allclose(value, expected[name].detach().numpy(), atol=1e-5)


def test_order_of_more_than_ten(worker: WorkerProcess, tmp_path: Path) -> None:
    arguments = {f"x{index}": torch.full((1, 2), float(index)) for index in range(12)}
    _, found = convert(worker, tmp_path, Many(), arguments)
    assert [float(value[0, 0]) for value in found] == [i * (i + 1) for i in range(12)]


def test_damaged_program(worker: WorkerProcess, tmp_path: Path) -> None:
    path = tmp_path / "noise.pt2"
    path.write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(WorkerFailure, match=r"noise\.pt2") as failure:
        worker.call("convert", artifact=str(path), to="tflite", output="x.tflite", inputs=[])
    assert failure.value.kind == "model"


def test_unsupported_operation(worker: WorkerProcess, tmp_path: Path) -> None:
    class Unsupported(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.linalg.svd(x)[1]

    with pytest.raises(WorkerFailure, match="litert-torch failed") as failure:
        convert(worker, tmp_path, Unsupported(), {"x": torch.randn(4, 4)})
    assert failure.value.kind == "conversion"
    assert not (tmp_path / "model.tflite").exists()
