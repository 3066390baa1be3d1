"""Getting a PyTorch model out of whatever form the user has it in, without unpickling code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pickle
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch_archive import load_archive
from torch_quantized import register_operators

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))
from named_source import load_named

from edgekit_worker import WorkerError

Loaded = tuple[torch.nn.Module, "torch.export.ExportedProgram | None"]


def load_model(source: dict[str, Any]) -> tuple[Loaded, dict[str, Any]]:
    """The model in inference mode, its ExportedProgram where it is one; what its source notes.

    Raises:
        WorkerError: it cannot be loaded; the cause names the factory, file or keys.
    """
    loaders = {
        "torch": _from_factory,
        "torch_pickle": _from_pickle,
        "torchscript": _from_torchscript,
        "exported_program": _from_exported_program,
    }
    notes: dict[str, Any] = {}
    if source.get("named"):
        (model, notes), program = load_named(source), None
    else:
        model, program = loaders[source["kind"]](source)
    if source.get("weights"):
        if program is not None or source["kind"] == "torchscript":
            raise WorkerError(
                f"--weights does not go with {source['location']}, which has its weights inside.",
                cure="Leave out --weights.",
                kind="usage",
            )
        load_weights(model, Path(source["weights"]), trusted=bool(source.get("trust_pickle")))
    if program is None:  # an ExportedProgram's mode was fixed when it was exported
        model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return (model, program), notes


def _from_factory(source: dict[str, Any]) -> Loaded:
    module_name, _, attribute = source["location"].rpartition(":")
    module = _import(module_name)
    factory = getattr(module, attribute, None)
    if factory is None:
        near = [name for name in dir(module) if not name.startswith("_")]
        raise WorkerError(
            f"{module_name} has no {attribute!r}.",
            cure=f"It has: {', '.join(near[:20])}",
            kind="usage",
        )
    if not isinstance(factory, torch.nn.Module):
        factory = _call_factory(factory, source["location"])
    if not isinstance(factory, torch.nn.Module):
        gave = "nothing" if factory is None else f"an object of type {type(factory).__name__}"
        raise WorkerError(
            f"{source['location']} returned {gave}, not a torch.nn.Module.",
            cure=_cure_for(factory),
            kind="model",
        )
    return factory, None


def _cure_for(other: object) -> str:
    """How to convert what is not a PyTorch module."""
    families = {kind.__module__.partition(".")[0] for kind in type(other).__mro__}
    if families & {"keras", "tf_keras"}:
        return "Save the Keras model, model.save('model.keras'), and name that file."
    if "tensorflow" in families:
        return "Save it, tf.saved_model.save(model, 'folder'), and name that folder."
    if "onnx" in families:
        return "Save it, onnx.save(model, 'model.onnx'), and name that file."
    if other is None:
        return "Does the function lack a return?"
    return "Name a function without arguments that returns the model."


def _import(name: str) -> ModuleType:
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = Path(name).resolve()
        if not path.is_file():
            raise WorkerError(f"There is no file {name}.", cure="Check the path.", kind="usage")
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except WorkerError:
        raise
    except (Exception, SystemExit) as error:
        raise WorkerError(
            f"Importing {name} failed: {_first_line(error)}",
            cure=f"python -c 'import {name}' must work from this folder."
            if not name.endswith(".py")
            else f"python {name} must work.",
            kind="model",
        ) from error
    return module


def _call_factory(factory: Any, location: str) -> Any:
    if not callable(factory):
        raise WorkerError(
            f"{location} is of type {type(factory).__name__}: neither a model nor callable.",
            cure="Name a function without arguments that returns the model.",
            kind="model",
        )
    try:
        needed = [
            name
            for name, parameter in inspect.signature(factory).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
    except (TypeError, ValueError):
        needed = []
    if needed:
        raise WorkerError(
            f"{location} needs the arguments {', '.join(needed)}.",
            cure="Write a function without arguments that returns the model, and name that.",
            kind="model",
        )
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise WorkerError(
            f"{location} raised {_first_line(error)}",
            cure="Calling it in Python must return the model. If it downloads something, do that "
            "once outside edgekit, or allow it with --allow-network.",
            kind="model",
        ) from error


def load_weights(model: torch.nn.Module, path: Path, *, trusted: bool = False) -> None:
    """Load a state dict, a safetensors file or a Lightning checkpoint into the model, strictly.

    Args:
        model: what to load it into.
        path: the file.
        trusted: objects other than tensors may be unpickled, which can run any code.

    Raises:
        WorkerError: the file is missing or damaged, or its names or shapes are not the model's.
    """
    state = _read_state(path, trusted=trusted)
    wanted = model.state_dict()
    state = _strip_prefix(state, set(wanted))
    missing = sorted(set(wanted) - set(state))
    surplus = sorted(set(state) - set(wanted))
    shapes = sorted(
        f"{name} ({'x'.join(map(str, state[name].shape))} in the file, "
        f"{'x'.join(map(str, wanted[name].shape))} in the model)"
        for name in set(wanted) & set(state)
        if state[name].shape != wanted[name].shape
    )
    complaints = [
        f"{what}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for what, names in (("missing", missing), ("not in the model", surplus), ("shape", shapes))
        if names
    ]
    if complaints:
        raise WorkerError(
            f"The weights in {path} do not fit the model. {'; '.join(complaints)}.",
            cure="Use the weights of this very architecture (number of classes included).",
            kind="model",
        )
    model.load_state_dict(state)


def _read_state(path: Path, *, trusted: bool) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise WorkerError(f"There is no file {path}.", cure="Check --weights.", kind="usage")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        data = torch.load(path, map_location="cpu", weights_only=not trusted)
    except Exception as error:
        raise _unreadable_weights(path, error) from error
    for key in ("state_dict", "model_state_dict", "model"):  # Lightning, and common habits
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
            break
    if not isinstance(data, dict) or not all(isinstance(v, torch.Tensor) for v in data.values()):
        raise WorkerError(
            f"{path} holds no state dict.",
            cure="Save model.state_dict() and pass that.",
            kind="model",
        )
    return data


def _unreadable_weights(path: Path, error: Exception) -> WorkerError:
    """In our words where torch's own are pages about its history."""
    if "TorchScript archive" in str(error):
        return WorkerError(
            f"The weights {path} are a TorchScript file, which is a whole model.",
            cure=f"Convert it by itself: edgekit convert {path}",
            kind="usage",
        )
    if isinstance(error, pickle.UnpicklingError) and "Weights only load failed" in str(error):
        return WorkerError(
            f"The weights {path} hold pickled objects beside tensors; opening them can run any "
            "code that their author put there.",
            cure="Save them with torch.save(model.state_dict(), …) or as safetensors. If you trust "
            "their author, add --trust-pickle.",
            kind="usage",
        )
    return WorkerError(
        f"The weights {path} cannot be read: {_first_line(error)}",
        cure="The file may be cut short or damaged; save or copy it again, as "
        "torch.save(model.state_dict(), …) or safetensors.",
        kind="model",
    )


def _strip_prefix(state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    """Lightning and DataParallel put ``model.`` or ``module.`` before every name."""
    for prefix in ("model.", "module.", "net.", "_orig_mod."):
        inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if inside and not set(state) & wanted and set(inside) & wanted:
            return inside
    return state


def _from_torchscript(source: dict[str, Any]) -> Loaded:
    path = _existing(source)
    try:
        model = torch.jit.load(path, map_location="cpu")
    except Exception as error:
        raise _unreadable(path, "TorchScript", error) from error
    if not source.get("trust_pickle") and (found := _reaching_out(model)):
        raise WorkerError(
            f"{path} has operations that reach for files: {', '.join(found)}.",
            cure="Leave them out of the model. If you trust its author, add --trust-pickle; where "
            "it may write then, --allow-write FOLDER says.",
            kind="model",
        )
    return model, None


_FILE_OPERATORS = ("aten::save", "aten::from_file")
"""What TorchScript has for files; where the kernel refuses them, they fail without a word."""


def _reaching_out(model: torch.jit.ScriptModule) -> list[str]:
    graph = model.inlined_graph
    return [name for name in _FILE_OPERATORS if graph.findNode(name, recurse=True)]


def _from_exported_program(source: dict[str, Any]) -> Loaded:
    path = _existing(source)
    register_operators()
    try:
        program = load_archive(path, trusted=bool(source.get("trust_pickle")))
    except WorkerError:
        raise
    except Exception as error:
        raise _unreadable(path, "an ExportedProgram", error) from error
    return program.module(), program


def _from_pickle(source: dict[str, Any]) -> Loaded:
    path = _existing(source)
    if not zipfile.is_zipfile(path) and path.read_bytes()[:1] != b"\x80":
        raise _unreadable(path, "a PyTorch file", ValueError("neither a zip archive nor a pickle"))
    if not source.get("trust_pickle"):
        raise WorkerError(
            f"{path} is a pickle: opening it can run any code that its author put there.",
            cure="If you trust its author, add --trust-pickle. Safer: name the model's factory as "
            "package.module:factory and give the state dict with --weights.",
            kind="usage",
        )
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:  # pickles name classes, they do not hold them
        raise WorkerError(
            f"{path} needs Python code that is not here: {_first_line(error)}",
            cure="Run edgekit in the folder and the environment that the model was saved from.",
            kind="model",
        ) from error
    except Exception as error:
        raise _unreadable(path, "a pickled model", error) from error
    if not isinstance(model, torch.nn.Module):
        raise WorkerError(
            f"{path} holds a {type(model).__name__}, not a torch.nn.Module.",
            cure="For a state dict name the model's factory, and give this file with --weights.",
            kind="model",
        )
    return model, None


def _existing(source: dict[str, Any]) -> Path:
    return Path(source["location"])


def _unreadable(path: Path, what: str, error: Exception) -> WorkerError:
    return WorkerError(
        f"{path} cannot be read as {what}: {_first_line(error)}",
        cure="The file may be cut short or of another kind; save or copy it again.",
        kind="model",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
