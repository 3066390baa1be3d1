"""``hub:FOLDER/ENTRY`` and ``hub:OWNER/REPOSITORY/ENTRY``, as `torch.hub` has them.

The repository's ``hubconf.py`` runs, like a factory. https://docs.pytorch.org/docs/stable/hub.html
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from edgekit_worker import WorkerError


def load(name: str, *, pretrained: bool) -> Any:
    """What the entry returns; it is asked for its weights where it has a parameter for that."""
    repository, _, entry = name.rpartition("/")
    if not repository:
        raise WorkerError(
            f"hub:{name} names no entry of a repository.",
            cure="hub:FOLDER/ENTRY, or hub:OWNER/REPOSITORY/ENTRY, as hub:pytorch/vision/resnet18",
            kind="usage",
        )
    hubconf = _hubconf(_folder(repository, entry))
    entries = [one for one in vars(hubconf) if _is_entry(hubconf, one)]
    if entry not in entries:
        near = get_close_matches(entry, entries) or entries[:10]
        raise WorkerError(
            f"The hubconf.py of {repository} has no entry {entry}.",
            cure=f"Did you mean {', '.join(f'hub:{repository}/{one}' for one in near)}?",
            kind="usage",
        )
    make = getattr(hubconf, entry)
    taken = inspect.signature(make).parameters
    if not pretrained:
        return make(**({"pretrained": False} if "pretrained" in taken else {}))
    if "pretrained" in taken:
        return make(pretrained=True)
    return make(**({"weights": "DEFAULT"} if "weights" in taken else {}))


def cache() -> str:
    """Where `torch.hub` keeps repositories and weights."""
    return torch.hub.get_dir()


def _folder(repository: str, entry: str) -> Path:
    """The repository: a folder here, or in the cache, or downloaded where that is allowed."""
    here, cached = Path(repository), _cached(repository)
    if (here / "hubconf.py").is_file():
        if len(cached) == 1 and not repository.startswith((".", "/")):
            raise WorkerError(
                f"hub:{repository} is a folder here, and a repository in {cache()}.",
                cure=f"For the folder: hub:./{repository}/{entry}   For the other run edgekit in "
                "another folder.",
                kind="usage",
            )
        return here
    if here.is_dir():
        raise WorkerError(
            f"The folder {repository} has no hubconf.py.",
            cure="Name the folder of a repository for torch.hub, then a slash and its entry.",
            kind="usage",
        )
    if not cached and os.environ.get("TORCH_HUB_OFFLINE") == "1":
        raise WorkerError(
            f"There is no folder {repository}, and no such repository in {cache()}.",
            cure=f"Get it: {_download(repository)}   Or let edgekit: --allow-network --allow-write "
            f"{cache()}",
            kind="usage",
        )
    if not cached:
        torch.hub.list(repository, trust_repo=True, verbose=False)
        cached = _cached(repository)
    if len(cached) > 1:
        raise WorkerError(
            f"{repository} is in the cache in {len(cached)} versions.",
            cure=f"Say which, as in hub:{repository}:REF/{entry}   They are in {cache()}: "
            f"{', '.join(one.name for one in cached)}",
            kind="usage",
        )
    if not (cached[0] / "hubconf.py").is_file():
        raise WorkerError(
            f"{cached[0]} is damaged: it has no hubconf.py.",
            cure=f"Delete it, and get it anew: {_download(repository)}",
            kind="model",
        )
    return cached[0]


def _download(repository: str) -> str:
    return f"python -c \"import torch; torch.hub.list('{repository}')\""


def _cached(repository: str) -> list[Path]:
    """The versions of a repository in the cache: the stated one, the main branch, or all."""
    where, colon, ref = repository.partition(":")
    stem = where.replace("/", "_")
    wanted = [ref.replace("/", "_")] if colon else ["main", "master"]
    folder = Path(cache())
    stated = [folder / f"{stem}_{one}" for one in wanted if (folder / f"{stem}_{one}").is_dir()]
    return stated[:1] if stated or colon else sorted(folder.glob(f"{stem}_*"))


def _hubconf(folder: Path) -> ModuleType:
    path = folder.resolve() / "hubconf.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("hubconf", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    missing = []
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        missing = [error.name or str(error)]
    missing += [
        one for one in getattr(module, "dependencies", ()) if importlib.util.find_spec(one) is None
    ]
    if missing:
        needed = " ".join(dict.fromkeys(missing))
        raise WorkerError(
            f"{path} needs {needed}, which is not installed.",
            cure=f"Install what it belongs to, for example: pip install {needed}",
            kind="setup",
        )
    return module


def _is_entry(module: ModuleType, name: str) -> bool:
    value = getattr(module, name)
    return callable(value) and not name.startswith("_") and not inspect.isclass(value)
