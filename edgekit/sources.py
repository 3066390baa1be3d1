"""Recognising what a MODEL argument is, by looking at it and never by opening it up."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import zipfile
from pathlib import Path

from edgekit.archives import ARCHIVE_ERRORS, is_archive
from edgekit.arguments import nearest
from edgekit.errors import ModelError, UsageError
from edgekit.files import kind_of, read_text, shown
from edgekit.toolchain.named_models import NamedModels, named_models
from edgekit.types import ModelSource, SourceKind

_BY_SUFFIX: dict[str, SourceKind] = {
    ".pt2": "exported_program",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".onnx": "onnx",
    ".tflite": "tflite",
}
_TORCH_SUFFIXES = {".pt", ".pth", ".ckpt", ".bin", ".ptl"}
OTHER_SUFFIXES = {*_BY_SUFFIX, *_TORCH_SUFFIXES} - {".tflite"}
"""How the files of models are called that are not `.tflite`."""
_HDF5 = b"\x89HDF\r\n\x1a\n"


def recognise(
    location: str,
    *,
    weights: Path | None = None,
    trust_pickle: bool = False,
    signature: str | None = None,
) -> ModelSource:
    """The `ModelSource` of a command-line argument.

    Raises:
        UsageError: there is no such file, its kind is unknown, or it has no signatures to name.
        ModelError: the file is empty, or its content does not fit its name.
    """
    if (found := _by_name(location)) is not None:
        named, name = found
        named.require_package()
        if signature is not None and named.kind != "saved_model":
            raise _no_signatures(location, named.kind)
        path = named.path_of(name)
        return ModelSource(
            location=location,
            kind=named.kind,
            name=re.sub(r"[^\w.-]+", "_", _last_part(name, path)) or named.name,
            weights=_existing_weights(weights),
            trust_pickle=trust_pickle,
            signature=signature,
            named={
                "path": None if path is None else str(path),
                "name": name,
                "program": str(named.program),
                "package": named.package,
                "offline": dict(named.offline),
                "untrusted": dict(named.untrusted),
                "fetch": named.fetch,
            },
        )
    try:
        kind, name = _kind_and_name(location)
    except OSError as error:
        raise UsageError(f"{location[:200]} cannot be read: {error.strerror or error}.") from error
    weights = _existing_weights(weights)
    if kind == "torch_pickle" and not trust_pickle and _is_of_ultralytics(Path(location)):
        raise UsageError(
            f"{location} is a checkpoint of ultralytics: a pickle that needs its code.",
            cure=f"With ultralytics installed: edgekit convert ultralytics:{location}   Or export "
            f"it where it is: yolo export model={location} format=onnx   Both know how it is fed.",
        )
    if signature is not None and kind != "saved_model":
        raise _no_signatures(location, kind)
    return ModelSource(
        location=location,
        kind=kind,
        name=re.sub(r"[^\w.-]+", "_", name) or "model",
        weights=weights,
        trust_pickle=trust_pickle,
        signature=signature,
    )


def _last_part(name: str, path: Path | None) -> str:
    """What files are called: the stem of the model's file, or the last part of its name."""
    if path is not None and kind_of(path) == "file":
        return path.stem
    return name.rstrip("/").rpartition("/")[2]


def _no_signatures(location: str, kind: str) -> UsageError:
    return UsageError(
        f"--signature is for a SavedModel; {location} is of the kind {kind}.",
        cure="Leave it out.",
    )


def _existing_weights(weights: Path | None) -> Path | None:
    if weights is not None and kind_of(weights) != "file":
        raise UsageError(f"There is no file {shown(weights)}.", cure="Check --weights.")
    return weights


def _by_name(location: str) -> tuple[NamedModels, str] | None:
    """The source and the name of a ``SOURCE:NAME``; `None` where it is something else."""
    prefix, colon, name = location.partition(":")
    if not colon or not name or kind_of(Path(location)) != "none":
        return None
    named = named_models().get(prefix)
    if named is not None and kind_of(Path(f"{prefix}.py")) == "file" and name.isidentifier():
        raise UsageError(
            f"{location} is a model by name, and there is a {prefix}.py here too.",
            cure=f"For the file: {prefix}.py:{name}. For the name run edgekit in another folder.",
        )
    return None if named is None else (named, name)


def _is_of_ultralytics(path: Path) -> bool:
    """Whether the pickle in a PyTorch archive names ultralytics' classes; nothing is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next(one for one in archive.namelist() if one.endswith("data.pkl"))
            with archive.open(inside) as stream:
                return b"ultralytics" in stream.read(1 << 20)
    except (*ARCHIVE_ERRORS, StopIteration):
        return False


def _kind_and_name(location: str) -> tuple[SourceKind, str]:
    path = Path(location)
    match kind_of(path):
        case "none" if _is_factory(location):
            _check_factory_file(location)
            return "torch", _factory_name(location)
        case "none":
            by_name = ", ".join(f"{one}:NAME" for one in named_models())
            raise UsageError(
                f"There is no file or folder {shown(location)}.",
                cure="Check the path. A PyTorch model in code is named package.module:factory or "
                f"file.py:factory, a model by name {by_name}.",
            )
        case "other":
            raise UsageError(f"{location} is not a regular file.", cure="Give a file on a disk.")
        case "folder" if not (path / "saved_model.pb").is_file():
            raise UsageError(
                f"The folder {location} is not a SavedModel: it has no saved_model.pb.",
                cure="Name a SavedModel folder or a model file.",
            )
        case "folder":
            return "saved_model", path.resolve().name
        case "file":
            return _kind_of_file(path), path.stem


def _kind_of_file(path: Path) -> SourceKind:
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty.", cure="Save or copy the model again.")
    suffix = path.suffix.lower()
    if suffix in _BY_SUFFIX:
        _check_content(path, _BY_SUFFIX[suffix])
        return _BY_SUFFIX[suffix]
    if suffix in _TORCH_SUFFIXES:
        return _torch_kind(path)
    if suffix == ".py":
        raise UsageError(
            f"{path} is Python code; which function in it makes the model?",
            cure=f"Name it: {path}:factory",
        )
    if suffix == ".safetensors":
        raise UsageError(
            f"{path} holds weights; the code of the model is missing.",
            cure=f"edgekit convert package.module:factory --weights {path}",
        )
    raise UsageError(
        f"The kind of {path} is unknown.",
        cure=f"Known endings: {', '.join(sorted({*_BY_SUFFIX, *_TORCH_SUFFIXES}))}",
    )


def _factory_name(location: str) -> str:
    """What a factory's files are called: after it, or after its module if its name says nothing."""
    module, _, attribute = location.rpartition(":")
    generic = {"build", "create", "factory", "get_model", "load", "main", "make", "model", "net"}
    if attribute not in generic:
        return attribute
    return Path(module).stem if module.endswith(".py") else module.rpartition(".")[2]


def _is_factory(location: str) -> bool:
    module, colon, attribute = location.rpartition(":")
    if not colon or not attribute.isidentifier():
        return False
    return module.endswith(".py") or all(part.isidentifier() for part in module.split("."))


def _check_factory_file(location: str) -> None:
    """The file is there, and so is the factory in it, as far as its text tells: nothing is run."""
    module, _, attribute = location.rpartition(":")
    if not module.endswith(".py"):
        return
    if kind_of(Path(module)) != "file":
        raise UsageError(f"There is no file {shown(module)}.", cure="Check the path.")
    names = _names_in(Path(module))
    if names and attribute not in names:
        raise UsageError(f"{module} has no {attribute!r}.", cure=nearest(attribute, sorted(names)))


def _names_in(path: Path) -> set[str]:
    """What a Python file defines; nothing where only running it can tell."""
    try:
        tree = ast.parse(read_text(path, UsageError))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # told when it is imported
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Import(names=parts) | ast.ImportFrom(names=parts):
                found |= {part.asname or part.name.partition(".")[0] for part in parts}
            case ast.Call(func=ast.Name(id="globals" | "exec" | "setattr")):
                return set()
    return set() if "*" in found or "__getattr__" in found else found


def _check_content(path: Path, kind: SourceKind) -> None:
    """Refuse a file that cannot be what its name says, by its first bytes or its end.

    ONNX files are protobuf messages, which have no mark; whoever parses them tells.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
    match kind:
        case "exported_program":
            right = is_archive(path)
        case "keras" if path.suffix.lower() == ".keras":
            right = is_archive(path)
        case "keras":
            right = start == _HDF5
        case "tflite":
            right = start[4:8] == b"TFL3"
        case _:
            right = True
    if not right:
        raise _damaged(
            f"{path} is not a {path.suffix.lower()} file: its content is of another kind."
        )


def _damaged(cause: str) -> ModelError:
    return ModelError(cause, cure="It may be cut short or damaged; save or copy it again.")


def _torch_kind(path: Path) -> SourceKind:
    """Tell TorchScript, an ExportedProgram and a pickle apart by the archive's listing."""
    if not is_archive(path):
        with path.open("rb") as stream:
            start = stream.read(2)
        if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
            return "torch_pickle"
        raise _damaged(f"{path} is not a PyTorch file: it is neither a zip archive nor a pickle.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2] for name in archive.namelist()}
    except ARCHIVE_ERRORS as error:
        raise _damaged(f"{path} is a damaged PyTorch file: {error}.") from error
    if "archive_format" in members or any(m.startswith("models/") for m in members):
        return "exported_program"
    if "constants.pkl" in members or any(m.startswith("code/") for m in members):
        return "torchscript"
    return "torch_pickle"


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names, sizes and contents."""
    result = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        if file is not path:
            # With the size: without it one file could look like two.
            result.update(os.fsencode(file.relative_to(path)) + b"\0%d\0" % file.stat().st_size)
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                result.update(chunk)
    return result.hexdigest()
