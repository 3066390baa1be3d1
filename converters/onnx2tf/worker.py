"""ONNX to float TFLite with onnx2tf's flatbuffer back end. Verb: ``convert``."""

from __future__ import annotations

import errno
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx2tf.onnx2tf  # the package itself loads lazily
import onnxsim
from ai_edge_litert import schema_py_generated as schema

from edgekit_worker import WorkerError

sys.path.append(str(Path(__file__).resolve().parents[1] / "onnx"))
from lowering import lower
from onnx_dequantize import dequantize
from onnx_graph import sort_nodes
from onnx_intermediates import scopes_of
from onnx_layout import input_layout

_LOOK = (
    "Write the operator that is named with others, or end the model before it and leave that part "
    "to the app."
)


def convert(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Fix the input shapes in a copy of the ONNX file and convert that.

    Inputs that the graph uses as NCHW come out as NHWC, which is what TFLite kernels want; every
    other input keeps its shape (onnx2tf alone would turn a NHWC input around once more).

    Returns:
        The artifact and, per input, the permutation from the source's axes to the artifact's.
    """
    output = Path(request["output"])
    work = output.parent / f"{output.stem}-onnx2tf"
    work.mkdir()
    model = onnx.load(request["artifact"])
    sort_nodes(model)
    dequantize(model)
    fix_shapes(model, request["inputs"])
    static = work / "static.onnx"
    # Past 2 GB a protobuf message cannot be written in one piece.
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 1 << 30
    if not large:
        model = simplified(model)
        if lower(model):
            model = simplified(model)
    onnx.save(model, static, save_as_external_data=large)
    layouts = {spec["name"]: input_layout(model.graph, spec["name"]) for spec in request["inputs"]}
    keep = [
        spec["name"]
        for spec in request["inputs"]
        if len(spec["shape"]) > 2 and layouts[spec["name"]] != "NCHW"
    ]
    progress(0.2, "converting")
    _run_onnx2tf(static, work, keep, simplify=large, nodes=model.graph.node)
    written = sorted(work.glob("*_float32.tflite"))
    if not written:
        raise WorkerError(
            "onnx2tf ended without writing a file.",
            cure=_LOOK,
        )
    if missing := _unconverted(written[0]):
        kinds = {kind.lower() for kind in missing}
        found = [_place(node) for node in model.graph.node if node.op_type.lower() in kinds]
        raise WorkerError(
            f"onnx2tf has no TFLite form of the ONNX operators {', '.join(found or missing)}.",
            cure="Replace them in the model, or leave that part to the app.",
            kind="model",
        )
    written[0].replace(output)
    _write_origins(work, output)
    return {
        "artifact": str(output),
        "inputs": [
            {
                "source": spec["name"],
                "permutation": _permutation(len(spec["shape"]), moved=spec["name"] not in keep),
            }
            for spec in request["inputs"]
        ],
        "options": {"backend": "flatbuffer_direct", "keep_shape": keep},
    }


def _write_origins(work: Path, output: Path) -> None:
    """Which ONNX values each tensor of the file is, by onnx2tf's report, for ``explain``."""
    origins: dict[str, list[str]] = {}
    for report in work.glob("*_tensor_correspondence_report.json"):
        for record in json.loads(report.read_text(encoding="utf-8")).get("records", ()):
            if record.get("exists_in_final_model"):
                name = record["resolved_tflite_tensor_name"]
                origins.setdefault(name, []).append(record["onnx_output_name"])
    output.with_suffix(".origins.json").write_text(json.dumps(origins), encoding="utf-8")


def _unconverted(path: Path) -> list[str]:
    """The operators that onnx2tf passed on as custom ones, which no runtime knows."""
    model = schema.Model.GetRootAsModel(path.read_bytes())
    codes = (model.OperatorCodes(index) for index in range(model.OperatorCodesLength()))
    names = {(code.CustomCode() or b"").decode() for code in codes}
    return sorted(name.removeprefix("ONNX_") for name in names if name.startswith("ONNX_"))


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnx2tf does by itself three times over, each time in a new process: seconds saved."""
    for _ in range(3):
        before = len(model.graph.node)
        try:
            model, _ = onnxsim.simplify(model)
        except Exception as error:  # noqa: BLE001  the model as it is will do, or its route fails
            print(f"onnxsim failed: {error!r}")
            break
        if len(model.graph.node) == before:
            break
    return model


def fix_shapes(model: onnx.ModelProto, inputs: list[dict[str, Any]]) -> None:
    """Write the concrete input shapes into the graph; forget what was inferred from others."""
    concrete = {spec["name"]: spec["shape"] for spec in inputs}
    for value in model.graph.input:
        if value.name in concrete:
            _set_shape(value, concrete[value.name])
    del model.graph.value_info[:]
    for value in model.graph.output:
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.dim_value:
                dimension.Clear()  # shape inference below fills it


def _set_shape(value: onnx.ValueInfoProto, shape: list[int]) -> None:
    dimensions = value.type.tensor_type.shape
    del dimensions.dim[:]
    for size in shape:
        dimensions.dim.add().dim_value = size


def _place(node: onnx.NodeProto) -> str:
    """An operator, by its output's name, and where the exporter says so the module it is in."""
    scopes = scopes_of(node)
    return f"{node.op_type} ({node.output[0]}{f', in {scopes[-1]}' if scopes else ''})"


def _run_onnx2tf(
    model: Path, folder: Path, keep: list[str], *, simplify: bool, nodes: Sequence[onnx.NodeProto]
) -> None:
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(model),
            output_folder_path=str(folder),
            keep_shape_absolutely_input_names=keep or None,
            copy_onnx_input_output_names_to_tflite=True,
            not_use_onnxsim=not simplify,
            verbosity="warn",
        )
    except SystemExit as error:  # onnx2tf exits instead of raising
        raise WorkerError(
            f"onnx2tf gave up (exit code {error.code}).",
            cure=_LOOK,
        ) from error
    except Exception as error:
        # Its own words are "flatbuffer_direct fast path failed", whatever happened.
        inner: BaseException = error
        while inner.__cause__ is not None:
            inner = inner.__cause__
        if isinstance(inner, OSError) and inner.errno == errno.ENOSPC:
            raise inner from error
        lines = str(inner).strip().splitlines() or ["no message"]
        named = re.findall(r"(?:op|node)=([^\s,]+)", lines[0])
        places = [_place(node) for node in nodes if node.name and node.name in named]
        at = f" At {', '.join(places)}." if places else ""
        raise WorkerError(
            f"onnx2tf failed: {type(inner).__name__}: {lines[0][:300]}{at}", cure=_LOOK
        ) from error


def _permutation(rank: int, *, moved: bool) -> list[int]:
    identity = list(range(rank))
    return [0, *identity[2:], 1] if moved and rank > 2 else identity
