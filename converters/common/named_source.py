"""A model by name, made by the ``source.py`` of a folder in ``sources/``."""

from __future__ import annotations

import difflib
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit_worker import WorkerError


def load_named(source: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model, and what its source knows about feeding it.

    Weights come from the package's local cache, unless the user gave some of his own.

    Raises:
        WorkerError: there is no such model, or its weights are not there or damaged.
    """
    named = source["named"]
    name, location = named["name"], source["location"]
    if not named["network"]:
        os.environ.update(named["offline"])
    if not source.get("trust_pickle"):
        os.environ.update(named["untrusted"])
    program = _program(Path(named["program"]), location)
    names = program.names() if hasattr(program, "names") else []
    if names and name.partition(".")[0] not in names and name not in names:
        near = [
            f"{location.partition(':')[0]}:{one}" for one in difflib.get_close_matches(name, names)
        ]
        raise WorkerError(
            f"There is no model {location}.",
            cure=f"Did you mean {', '.join(near)}?"
            if near
            else f"It has {len(names)}, such as {', '.join(names[:5])}.",
            kind="usage",
        )
    try:
        model = program.load(name, pretrained=not source.get("weights"))
    except WorkerError:
        raise
    except (Exception, SystemExit) as error:
        cache = str(program.cache()) if hasattr(program, "cache") else ""
        kept = f" in {cache}" if cache else ""
        online = f"--allow-network --allow-write {cache}" if cache else "--allow-network"
        raise WorkerError(
            f"{location} could not be made: {_first_line(error)}",
            cure="If its weights are not in the local cache, get them once (if they are damaged, "
            f"delete them{kept} first): {named['fetch'].replace('{name}', name)}   Or give a file "
            f"of weights with --weights, or let edgekit get them: {online}",
            kind="model",
            final=True,  # that a download was refused is not a matter of permissions
        ) from error
    return model, program.notes(name, model) if hasattr(program, "notes") else {}


def inputs_of_notes(notes: dict[str, Any]) -> list[dict[str, Any]]:
    """The one picture that a model takes, where its source's notes tell the size."""
    size = None
    if cfg := notes.get("pretrained_cfg"):
        size = cfg.get("input_size")
    elif metadata := notes.get("ultralytics"):
        side = metadata["imgsz"]
        window = [side, side] if isinstance(side, int) else list(side)
        size = [metadata["channels"], *window]
    elif preset := notes.get("preset"):
        size = preset.get("size")
    elif transforms := notes.get("transforms"):
        side = (transforms.get("crop_size") or [None])[0]
        size = side and [3, side, side]
    elif processor := notes.get("preprocessor"):
        size = _window(processor)
    return [{"name": "image", "shape": [1, *size], "dtype": "float32"}] if size else []


def _window(processor: dict[str, Any]) -> list[int] | None:
    """What a processor of transformers leaves of a picture."""
    window = processor.get("crop_size") if processor.get("do_center_crop") else None
    window = window or processor.get("size") or {}
    if isinstance(window, int):
        return [3, window, window]
    side = window.get("shortest_edge")
    height, width = (window.get(key, side) for key in ("height", "width"))
    return [3, height, width] if height and width else None


def _program(path: Path, location: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"edgekit_source_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise WorkerError(
            f"The source of {location} does not start: {_first_line(error)}",
            cure=f"Importing its package in Python must work; see {path}.",
            kind="setup",
        ) from error
    return module


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
