"""Writing a loaded PyTorch model as ONNX or as an ExportedProgram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edgekit_worker import WorkerError

_OPSET = 18  # the newest that both of torch's exporters write without a version conversion


def export_onnx(
    model: torch.nn.Module | torch.export.ExportedProgram,
    example: tuple[torch.Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    path: Path,
) -> dict[str, Any]:
    """Write ONNX with torch.export; with the older tracer where that fails or cannot (TorchScript).

    Returns:
        The options that were used, for the lineage.
    """
    program: Any = model
    if isinstance(model, torch.export.ExportedProgram):
        program = model.run_decompositions()
    failure = ""
    if not isinstance(model, torch.jit.ScriptModule):
        try:
            torch.onnx.export(
                program,
                example,
                str(path),
                input_names=input_names,
                output_names=output_names,
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # noqa: BLE001  any failure of the first exporter means: try the second
            print(f"torch.export failed: {error!r}")
            failure = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        else:
            return {"exporter": "torch.export", "opset": _OPSET}
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    try:
        torch.onnx.export(
            model,
            example,
            str(path),
            input_names=input_names,
            output_names=output_names,
            opset_version=_OPSET,
            dynamo=False,
        )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise WorkerError(
            f"PyTorch cannot export this model to ONNX: {failure or reason}",
            cure="Look for data-dependent control flow or an operator without an ONNX form.",
        ) from error
    return {"exporter": "TorchScript tracer", "opset": _OPSET, "after": failure}


def save_exported_program(
    model: torch.nn.Module | torch.export.ExportedProgram,
    example: tuple[torch.Tensor, ...],
    path: Path,
) -> dict[str, Any]:
    """Write the model as an ExportedProgram (`.pt2`)."""
    if isinstance(model, torch.jit.ScriptModule):
        raise WorkerError(
            "A TorchScript model cannot become an ExportedProgram.",
            cure="Name the model's factory instead of the TorchScript file.",
        )
    program = (
        model
        if isinstance(model, torch.export.ExportedProgram)
        else torch.export.export(model, example)
    )
    torch.export.save(program, path)
    return {"exporter": "torch.export"}
