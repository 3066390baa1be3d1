"""The module on the disk: written whole or not at all, and nothing that is not ours is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edgekit.errors import SetupError, UsageError
from edgekit.pipeline.publish import disk_errors, is_ours, reachable, scratch_folder
from edgekit.sources import digest

MANIFEST = "edgekit-embed.json"


def write_module(
    output: Path, files: Mapping[str, bytes | Path], facts: Mapping[str, object], *, force: bool
) -> Path:
    """Write a module's files and its manifest, the manifest last.

    With ``force`` an earlier module in the same folder is replaced: files that its manifest lists,
    that are unchanged since and that the new one does not have are removed. A file of the new
    module that exists already and was not written by edgekit, or was changed since, is never
    replaced.

    Args:
        output: the module's folder, which is there and held.
        files: content, or a file to copy, by path in the module.
        facts: what the manifest says beside the digests of the files.
        force: replace an earlier module.

    Returns:
        The manifest.

    Raises:
        UsageError: the folder holds something already, or a foreign file is in the way.
        SetupError: the folder cannot be written.
    """
    require_free(output, force=force)
    earlier = _earlier(output)
    _require_own(output, files, earlier)
    with reachable(output), disk_errors(output), scratch_folder(output) as folder:
        digests = {path: _put(folder / path, what) for path, what in files.items()}
        listed = {**facts, "files": dict(sorted(digests.items()))}
        manifest = json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
        (folder / MANIFEST).write_text(manifest, "utf-8")
        _move(folder, output, [*files, MANIFEST], earlier)
    return output / MANIFEST


def require_free(output: Path, *, force: bool) -> None:
    """Refuse a folder that has something in it, before any work is done.

    Raises:
        UsageError: it has, and nobody said ``force``.
        SetupError: it is a file.
    """
    if output.exists() and not output.is_dir():
        raise SetupError(
            f"The output {output} is a file, not a folder.", cure="Choose another --output folder."
        )
    foreign = output.is_dir() and not all(map(is_ours, output.iterdir()))
    if foreign and not force:
        raise UsageError(
            f"{output} exists already and is not empty.",
            cure="Choose another --output folder, or replace edgekit's own files with --force.",
        )


def _earlier(output: Path) -> dict[str, str]:
    """The files of an earlier module that are unchanged since."""
    try:
        listed = json.loads((output / MANIFEST).read_text(encoding="utf-8"))["files"]
        pairs = [(str(path), str(was)) for path, was in listed.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        path: was
        for path, was in pairs
        if _is_inside(path) and (output / path).is_file() and digest(output / path) == was
    }


def _is_inside(path: str) -> bool:
    """A manifest may have been edited: no path in it leads out of the folder."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _require_own(
    output: Path, files: Mapping[str, bytes | Path], earlier: Mapping[str, str]
) -> None:
    for path in files:
        if (output / path).exists() and path not in earlier:
            raise UsageError(
                f"{output / path} is in the way: edgekit did not write it, or it has changed.",
                cure="Move it away, or choose another --output folder.",
            )


def _put(path: Path, what: bytes | Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(what, Path):
        shutil.copyfile(what, path)
    else:
        path.write_bytes(what)
    return digest(path)


def _move(work: Path, output: Path, files: list[str], earlier: Mapping[str, str]) -> None:
    (output / MANIFEST).unlink(missing_ok=True)
    for path in set(earlier) - set(files):
        (output / path).unlink(missing_ok=True)
        _remove_empty(output, (output / path).parent)
    for path in files:
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(work / path, output / path)  # noqa: PTH105  within one file system


def _remove_empty(output: Path, folder: Path) -> None:
    while folder != output and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
