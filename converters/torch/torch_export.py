"""Writing a loaded PyTorch model as ONNX or as an ExportedProgram."""

from __future__ import annotations

import ast
import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch_decompositions import decomposed

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
    failure = ""
    if not isinstance(model, torch.jit.ScriptModule):
        try:
            torch.onnx.export(
                _captured(model, example),
                example,
                str(path),
                input_names=input_names,
                output_names=output_names,
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except OSError:  # a full disk would be full for the second one too
            raise
        except Exception as error:  # noqa: BLE001  any failure of the first exporter means: try the second
            print(f"torch.export failed: {error!r}")
            failure = _root_cause(error)
        else:
            _name_by_module(path)
            return {"exporter": "torch.export", "opset": _OPSET}
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    reasons = f"torch.export: {failure}; the older tracer: " if failure else ""
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
    except OSError:
        raise
    except Exception as error:
        _raise_if_disk_is_full(path)
        raise WorkerError(
            f"PyTorch cannot export this model to ONNX: {reasons}{_root_cause(error)}",
            cure="Look for data-dependent control flow or an operator without an ONNX form.",
            kind="model",  # and not a broken step: the loaded model is good for the next route
        ) from error
    return {"exporter": "TorchScript tracer", "opset": _OPSET, "after": failure}


def _name_by_module(path: Path) -> None:
    """Call nodes what people call their modules, ``layer3.0.conv2``: files keep these names.

    A node that reads a module's weights has its name; others have that of the module that they are
    computed in, with the operator behind it where that is not the module's only node.
    """
    import onnx

    model = onnx.load(str(path))
    weights = {one.name for one in model.graph.initializer if one.name.endswith(".weight")}
    used = {node.name for node in model.graph.node}
    for node in model.graph.node:
        own = [name.removesuffix(".weight") for name in node.input if name in weights]
        scope = _module_of(node)
        name = own[0] if own else f"{scope}.{node.op_type.lower()}" if scope else ""
        if not name:
            continue
        unique, count = name, 1
        while unique in used:
            unique, count = f"{name}_{count}", count + 1
        used.add(unique)
        node.name = unique
    onnx.save(model, str(path))


def _module_of(node: Any) -> str:
    """The path of the module that a node is computed in; empty for the model itself."""
    told = {one.key: one.value for one in node.metadata_props}
    try:
        scopes = ast.literal_eval(told.get("pkg.torch.onnx.name_scopes", "[]"))
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def _captured(
    model: torch.nn.Module | torch.export.ExportedProgram, example: tuple[torch.Tensor, ...]
) -> Any:
    """The model as a program of operators that ONNX has; itself where it cannot be captured."""
    if isinstance(model, torch.export.ExportedProgram):
        return decomposed(model).run_decompositions()
    try:
        program = torch.export.export(model, example)
    except Exception as error:  # noqa: BLE001  torch.onnx has further ways, and says what failed
        print(f"torch.export failed: {error!r}")
        return model
    return decomposed(program)


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
    try:
        program = (
            model
            if isinstance(model, torch.export.ExportedProgram)
            else torch.export.export(model, example)
        )
        torch.export.save(decomposed(program), path)
    except OSError:
        raise
    except Exception as error:
        _raise_if_disk_is_full(path)
        raise WorkerError(
            f"torch.export cannot capture this model: {_root_cause(error)}",
            cure="Look for data-dependent control flow: it must not depend on the input's values.",
            kind="model",
        ) from error
    return {"exporter": "torch.export"}


def _raise_if_disk_is_full(path: Path) -> None:
    """PyTorch's own writer says "enforce fail … unexpected pos" when the disk is full."""
    if shutil.disk_usage(path.parent).free < 1 << 16:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _root_cause(error: BaseException) -> str:
    """The first line of the innermost error: the outer ones are torch's advice in colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
