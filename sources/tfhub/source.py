"""``tfhub:https://…`` and ``tfhub:FOLDER``: the folder of a SavedModel, which is read as any other.

The cache has a folder for each address, named by its SHA-1: https://www.tensorflow.org/hub/caching
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import tensorflow_hub

from edgekit_worker import WorkerError


def load(name: str, *, pretrained: bool) -> str:
    """The folder."""
    folder = Path(name)
    if not folder.is_dir():
        if "://" not in name:
            raise WorkerError(
                f"tfhub:{name} is neither a folder nor an address.",
                cure="As in tfhub:https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/classification/5",
                kind="usage",
            )
        folder = Path(cache()) / hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
        if not folder.is_dir() and os.environ.get("TFHUB_OFFLINE") != "1":
            os.environ["TFHUB_CACHE_DIR"] = cache()
            folder = Path(tensorflow_hub.resolve(name))
    if not (folder / "saved_model.pb").is_file():
        damaged = folder.is_dir()
        get = f"python -c \"import tensorflow_hub; tensorflow_hub.resolve('{name}')\""
        raise WorkerError(
            f"{folder} is damaged: it has no saved_model.pb."
            if damaged
            else f"{name} is not in {cache()}.",
            cure=f"{'Delete it, and get it anew' if damaged else 'Get it'}: {get}   Where models "
            "are kept elsewhere, TFHUB_CACHE_DIR says so.",
            kind="model",
        )
    return str(folder)


def cache() -> str:
    """Where models are kept; a worker has a folder of its own for temporary files."""
    return os.environ.get("TFHUB_CACHE_DIR") or "/tmp/tfhub_modules"  # noqa: S108
