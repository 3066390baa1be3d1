"""Candidates with planted faults, and a workshop that runs the runtime's worker in this process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net, feed, photos, quiet

from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.pipeline.explain.candidate import CandidateTask
from edgekit.pipeline.explain.given import given_to
from edgekit.pipeline.explain.request import ExplainRequest
from edgekit.pipeline.explain.run import verdict
from edgekit.pipeline.explain.stages import tflite_chain
from edgekit.quantize import ranges
from edgekit.quantize.emit import emit
from edgekit.quantize.observe import observe
from edgekit.tflite.flatbuffer import set_options
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.model import Model, Operator, read, write
from edgekit.types import SilentProgress, TensorSpec
from edgekit.validation.explain.points import OpFinding

SIZE = 16


def net(path: Path, change: Callable[[Net], None] = lambda net: None) -> Path:
    """Five layers with a transposition and a padding; ``change`` may alter it before it is saved.

    ``image (1, 16, 16, 3) → first → turned → deep → padded → small → joined → scores (1, 5)``
    """
    one = Net(1, SIZE, SIZE, 3)
    first = one.conv(one.image, "first", 8, activation="RELU")
    order = one.constant("order", np.array([0, 2, 1, 3], np.int32))
    turned = one.operator("TRANSPOSE", [first, order], "turned", first.shape)
    deep = one.depthwise(turned, "deep", activation="RELU")
    rims = one.constant("rims", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    padded = one.operator("PAD", [deep, rims], "padded", (1, SIZE + 2, SIZE + 2, 8))
    small = one.conv(padded, "small", 8, same=False, activation="RELU")
    joined = one.add(small, deep, "joined")
    one.dense(joined, "scores", 5)
    change(one)
    return one.save(path, tensor(one.model, "scores"))


def tensor(model: Model, name: str) -> Any:
    return next(tensor for tensor in model.main.tensors if tensor.name == name)


def maker(model: Model, name: str) -> Operator:
    return next(op for op in model.main.operators if op.outputs[0].name == name)


def contract(**preprocess: Any) -> Contract:
    spec = TensorSpec(name="image", shape=(1, SIZE, SIZE, 3), layout="NHWC")
    steps = Preprocess(**{"scale": 1 / 255, **preprocess})
    return Contract(inputs=(InputContract(tensor=spec, preprocess=steps),))


def pictures(folder: Path, count: int = 12) -> Path:
    """Smooth colour pictures in which the channels differ."""
    folder.mkdir()
    values = photos(count, SIZE, SIZE, 3)
    values = (values - values.min()) / np.ptp(values) * [255, 160, 90] + [0, 40, 0]
    for number, value in enumerate(values):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.clip(value, 0, 255).astype(np.uint8))
    return folder


def quantized(
    source: Path,
    path: Path,
    *,
    widen: Mapping[str, float] | None = None,
    stated: Contract | None = None,
    calibration: np.ndarray | None = None,
) -> Path:
    """An int8 file with the true ranges, some of them multiplied, and a contract."""
    stack = np.abs(photos(8, SIZE, SIZE, 3)) if calibration is None else calibration
    feeds = feed(path.with_suffix(".npy"), stack.astype(np.float32))
    histograms = observe(source, feeds, progress=quiet)
    chosen = {
        name: (low * (widen or {}).get(name, 1), high * (widen or {}).get(name, 1))
        for name, (low, high) in ranges.choose(histograms, "minmax").items()
    }
    emit(source, path, "int8", chosen)
    embed_contract(path, path, stated or contract())
    return path


def edited(path: Path, change: Callable[[Model], None]) -> Path:
    """A file after a change."""
    model = read(path)
    change(model)
    write(model, path)
    return path


def fused(operator: Operator, name: str) -> None:
    """Another fused activation."""
    options = operator.options
    options.fusedActivationFunction = getattr(schema.ActivationFunctionType, name)
    set_options(operator.raw, options)


class InProcess:
    """The part of a workshop that explaining needs; nothing is started."""

    progress = SilentProgress()

    def __init__(self) -> None:
        self.calls: list[str] = []

    def call(
        self, _converter: Any, verb: str, request: dict[str, Any], **_words: Any
    ) -> tuple[dict[str, Any], None]:
        self.calls.append(verb)
        return getattr(worker(), verb)(request, quiet), None


def explained(
    candidate: Path, reference: Path, data: Path, work: Path, samples: int = 4
) -> tuple[list[OpFinding], str]:
    """The faults that are found, in the order of execution, and the verdict."""
    request = ExplainRequest(
        candidate=candidate, reference=str(reference), data=data, samples=samples
    )
    workshop: Any = InProcess()
    work.mkdir()
    given = given_to(candidate, request, samples, workshop, work / "data")
    chain = tflite_chain(reference, given, request, samples, workshop, work)
    ops, stage, outputs = CandidateTask(request, chain, given, workshop, work, []).compare()
    return [op for op in ops if op.bad], verdict(ops, (stage,), outputs)


def worker() -> ModuleType:
    """The runtime's worker as a module; what it imports lies in the folder of the converters."""
    root = Path(__file__).parents[2]
    if "edgekit_worker" not in sys.modules:
        place = root / "converters" / "edgekit_worker.py"
        spec = importlib.util.spec_from_file_location("edgekit_worker", place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.path.append(str(place.parent))
        sys.modules["edgekit_worker"] = module
        spec.loader.exec_module(module)
    from edgekit.runners import litert_worker

    return litert_worker
