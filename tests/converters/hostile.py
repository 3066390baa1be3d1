"""Model files that run code, or write or read files, where opening them lets them.

Each maker puts its file into a folder and gets the canary: a path outside of every work folder that
must not come to be.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Maker = Callable[[Path, Path], Path]


class Touch:
    """Pickled, it makes the canary when it is opened."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


def _python(canary: Path) -> str:
    return f"__import__('pathlib').Path({str(canary)!r}).touch()"


class Net(torch.nn.Module):
    """A linear layer whose program has a shape, a guard, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.register_buffer("offset", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = (x > 0) & (x < 1)
        return self.linear(x * inside) + self.offset * x.shape[0]


def program(folder: Path) -> Path:
    """A sound archive of `Net` with an open first dimension."""
    path = folder / "sound.pt2"
    shapes = {"x": {0: torch.export.Dim("batch", min=2, max=8)}}
    torch.export.save(torch.export.export(Net(), (torch.rand(2, 4),), dynamic_shapes=shapes), path)
    return path


def _rewritten(folder: Path, name: str, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The sound archive with other bytes in some entries; one that becomes `None` is left out."""
    path = folder / name
    with zipfile.ZipFile(program(folder)) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            data = change(entry.filename.partition("/")[2], source.read(entry))
            if data is not None:
                target.writestr(entry, data)
    return path


def _json(entry: str, change: Callable[[Any], None]) -> Callable[[str, bytes], bytes]:
    def changed(name: str, data: bytes) -> bytes:
        if name != entry:
            return data
        table = json.loads(data)
        change(table)
        return json.dumps(table).encode()

    return changed


_MODEL, _WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
_CONSTANTS = "data/constants/model_constants_config.json"


def sample_inputs(folder: Path, canary: Path) -> Path:
    """Pickled sample inputs."""
    buffer = io.BytesIO()
    torch.save(((Touch(canary),), {}), buffer)
    evil = buffer.getvalue()
    return _rewritten(
        folder, "inputs.pt2", lambda name, data: evil if "sample_inputs" in name else data
    )


def pickled_weight(folder: Path, canary: Path) -> Path:
    """A weight that says that it is a pickle."""
    buffer = io.BytesIO()
    torch.save(Touch(canary), buffer)

    def change(name: str, data: bytes) -> bytes:
        if name == "data/weights/weight_0":
            return buffer.getvalue()
        return _json(_WEIGHTS, mark)(name, data)

    def mark(table: Any) -> None:
        for one in table["config"].values():
            one["use_pickle"] = one["path_name"] == "weight_0"

    return _rewritten(folder, "weight.pt2", change)


def opaque_constant(folder: Path, canary: Path) -> Path:
    """A constant that is an opaque object."""

    def add(table: Any) -> None:
        table["config"]["evil"] = {
            "path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None
        }  # fmt: skip

    path = _rewritten(folder, "opaque.pt2", _json(_CONSTANTS, add))
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/constants/opaque_obj_0", pickle.dumps(Touch(canary)))
    return path


def guard(folder: Path, canary: Path) -> Path:
    """A guard is Python that is run."""
    return _rewritten(
        folder, "guard.pt2", _json(_MODEL, lambda t: t["guards_code"].append(_python(canary)))
    )


def shape(folder: Path, canary: Path) -> Path:
    """A shape is an expression that SymPy evaluates as Python."""

    def change(table: Any) -> None:
        for one in _find(table, "expr_str"):
            one["expr_str"] = _python(canary)

    return _rewritten(folder, "shape.pt2", _json(_MODEL, change))


def operator(folder: Path, canary: Path) -> Path:
    """An operator is looked up by its name in all of torch, which has imported os."""

    def change(table: Any) -> None:
        node = table["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.os.system"
        node["inputs"] = [{"name": "", "arg": {"as_string": f"touch {canary}"}, "kind": 1}]

    return _rewritten(folder, "operator.pt2", _json(_MODEL, change))


def input_name(folder: Path, canary: Path) -> Path:
    """An input's name becomes a parameter of generated Python."""
    evil = f"x={_python(canary)}"

    def change(name: str, data: bytes) -> bytes:
        if name != _MODEL:
            return data
        return data.replace(b'"name": "x"', b'"name": ' + json.dumps(evil).encode())

    return _rewritten(folder, "name.pt2", change)


def structure(folder: Path, _canary: Path) -> Path:
    """The tree of containers names a module that is imported."""

    def change(table: Any) -> None:
        context = {"default_factory_module": "antigravity", "default_factory_name": "fly"}
        spec = json.dumps([1, {"type": "collections.defaultdict", "context": json.dumps(
            {**context, "dict_context": []}), "children_spec": []}])  # fmt: skip
        for one in _find(table, "in_spec"):
            one["in_spec"] = spec

    return _rewritten(folder, "structure.pt2", _json(_MODEL, change))


def compiled(folder: Path, _canary: Path) -> Path:
    """Compiled libraries inside."""
    path = _rewritten(folder, "compiled.pt2", lambda _, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/aotinductor/model/model.so", b"\x7fELF")
    return path


def of_before(folder: Path, canary: Path) -> Path:
    """An archive as PyTorch wrote it before 2.8."""
    with zipfile.ZipFile(program(folder)) as source:
        root = source.namelist()[0].partition("/")[0]
        graph = source.read(f"{root}/{_MODEL}")
    buffer = io.BytesIO()
    torch.save({"evil": Touch(canary)}, buffer)
    path = folder / "before.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.14")
        archive.writestr("serialized_exported_program.json", graph)
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", buffer.getvalue())
    return path


def another_ending(folder: Path, canary: Path) -> Path:
    """An archive that is called `.pt`."""
    return sample_inputs(folder, canary).rename(folder / "other.pt")


def _find(value: Any, key: str) -> list[dict[str, Any]]:
    """Every table that has a key."""
    if isinstance(value, list):
        return [found for one in value for found in _find(one, key)]
    if not isinstance(value, dict):
        return []
    inside = [found for one in value.values() for found in _find(one, key)]
    return [value, *inside] if isinstance(value.get(key), str) else inside


ARCHIVES: tuple[Maker, ...] = (
    sample_inputs, pickled_weight, opaque_constant, guard, shape, operator, input_name, structure,
    compiled, of_before, another_ending,
)  # fmt: skip


def whole_module(folder: Path, canary: Path) -> Path:
    """A pickled module."""
    path = folder / "whole.pt"
    torch.save(Touch(canary), path)
    return path


class _Saves(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x * 2


class _Reads(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file(self.path, size=6, dtype=torch.uint8).float().mean()


def script_that_saves(folder: Path, canary: Path) -> Path:
    """TorchScript that writes a file."""
    path = folder / "saves.pt"
    torch.jit.script(_Saves(str(canary))).save(path)
    return path


def script_that_reads(folder: Path, canary: Path) -> Path:
    """TorchScript that reads one (which is not the canary)."""
    path, secret = folder / "reads.pt", canary.with_name("secret")
    secret.write_text("secret")
    torch.jit.script(_Reads(str(secret))).save(path)
    return path
