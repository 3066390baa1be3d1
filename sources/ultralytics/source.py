"""``ultralytics:best.pt``: the network as ultralytics' own exporter hands it on.

Its checkpoints are pickles. Without ``--trust-pickle`` they are read by ultralytics' safe loading,
which makes its own and PyTorch's classes only.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from edgekit_worker import WorkerError

if "YOLO_CONFIG_DIR" not in os.environ:  # settings are written there when it is imported
    os.environ["YOLO_CONFIG_DIR"] = tempfile.gettempdir()
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import SETTINGS


def load(name: str, *, pretrained: bool) -> Any:
    """The network of a checkpoint; with weights of one's own also that of a ``.yaml``."""
    if pretrained and Path(name).suffix != ".pt":
        raise WorkerError(
            f"ultralytics:{name} is not a checkpoint (.pt), and so has no weights.",
            cure="Name a checkpoint, such as ultralytics:best.pt, or give --weights FILE.",
            kind="usage",
        )
    safe = getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False)
    if os.environ.get("ULTRALYTICS_SAFE_LOAD") == "1" and not safe:
        raise WorkerError(
            f"ultralytics:{name} is a pickle, which this ultralytics cannot read safely.",
            cure="pip install -U ultralytics   Or, if you trust the file: --trust-pickle",
            kind="model",
        )
    kept = Path(SETTINGS["weights_dir"]) / name
    try:
        model = YOLO(str(kept if kept.is_file() and not Path(name).is_file() else name)).model
    except TypeError as error:  # what it raises for damaged files, and for others' classes
        raise WorkerError(
            f"ultralytics:{name} is damaged, or holds classes of others: {str(error)[:200]}",
            cure="If you trust the file and what it runs: --trust-pickle",
            kind="model",
        ) from error
    model = model.float()
    if getattr(model, "end2end", False):
        model.end2end = False  # its top-k is done outside, as for every other detector
    for part in model.modules():
        if hasattr(part, "export"):  # answers with what is deployed, not with what is trained
            part.export, part.format, part.dynamic = True, "onnx", False
        if hasattr(part, "forward_split"):
            part.forward = part.forward_split
    return model


def notes(name: str, model: Any) -> dict[str, Any]:
    """What its exporter would write into a file's properties."""
    arguments = getattr(model, "args", None) or {}
    read = arguments.get if isinstance(arguments, dict) else lambda key: getattr(arguments, key, 0)
    return {
        "ultralytics": {
            "task": model.task,
            "imgsz": read("imgsz") or 640,
            "stride": int(max(model.stride)),
            "names": dict(model.names),
            "channels": model.yaml.get("channels", 3),
        }
    }


def cache() -> str:
    """Where it keeps checkpoints."""
    return str(Path(SETTINGS["weights_dir"]).resolve())
