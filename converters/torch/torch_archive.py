"""ExportedPrograms of strangers: what in a `.pt2` archive is code, and loading it without any.

`torch.export.load` unpickles whatever an archive asks it to, evaluates its shapes as Python, makes
Python of the names of its nodes, and looks its operators up by name in all of `torch`. So the
archive is read first, by the same reader, and refused where it holds more than a graph and tensors.
"""

from __future__ import annotations

import ast
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sympy
import torch
from torch.utils._sympy import functions

from edgekit_worker import WorkerError

_OLD_PROGRAM = "serialized_exported_program.json"
"""What PyTorch before 2.8 called the program; `torch.export.load` still takes it."""
_FREE_TEXT = frozenset({"metadata", "as_string", "as_strings"})
"""Keys below which text is only shown, or is written out as a quoted constant."""
_PLAIN = re.compile(r"[\w.:+@/<> -]*")
"""Text that can stand in generated Python without being code of its own."""
_OPERATOR = re.compile(
    r"torch\.ops\.(?!_)\w+(\.(?!__)\w+){1,2}"
    r"|torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__\.(?!__)\w+"
)
"""Operators of ATen that are named as Python names them, and none of Python's own attributes."""
_ARITHMETIC = {
    f"_operator.{name}"
    for name in ("abs", "add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "invert", "le",
                 "lshift", "lt", "mod", "mul", "ne", "neg", "not_", "or_", "pos", "pow", "rshift",
                 "sub", "truediv", "xor")
}  # fmt: skip
_FUNCTIONS = re.compile(r"math\.\w+|torch\.sym_\w+|torch\._C\._set_grad_enabled")
_SHAPES = {"size", "shape", "stride", "storage_offset"}
"""What a guard may ask of a tensor."""
_EXPRESSION = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.keyword,
    ast.Name, ast.Constant, ast.Subscript, ast.Attribute, ast.Tuple, ast.Load, ast.operator,
    ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
_ARITHMETIC_NAMES = {
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs", "Eq",
    "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "LessThan",
    "StrictGreaterThan", "GreaterThan", "And", "Or", "Not", "Xor", "Piecewise", "ExprCondPair",
    "floor", "ceiling", "log", "exp", "sqrt", "round",
} | {
    name
    for name, one in vars(functions).items()
    if isinstance(one, type) and issubclass(one, sympy.Basic)
}  # fmt: skip


def load_archive(path: Path, *, trusted: bool) -> torch.export.ExportedProgram:
    """The program in an archive.

    Raises:
        WorkerError: it holds code and nobody said that it is to be trusted.
    """
    if trusted:
        return torch.export.load(path)
    if found := sorted(set(_code(path))):
        raise _refusal(path, "; ".join(found[:3]))
    with _tensors_only():
        try:
            return torch.export.load(path)
        except Exception as error:
            if "eights only load failed" in _whole(error):
                raise _refusal(path, "pickled objects beside its tensors") from error
            raise


def _refusal(path: Path, what: str) -> WorkerError:
    return WorkerError(
        f"{path} holds {what}: opening it can run any code that its author put there.",
        cure="If you trust its author, add --trust-pickle. Safer: name the model's factory as "
        "package.module:factory and give the state dict with --weights.",
        kind="usage",
    )


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Every `torch.load` unpickles tensors and nothing else, whatever its caller asks for."""
    forced, other = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (forced, other)}
    os.environ[forced] = "1"
    try:
        yield
    finally:
        del os.environ[forced]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _whole(error: BaseException) -> str:
    """What an error and those that it came from say."""
    said, link = [], error
    while link is not None and len(said) < 20:
        said.append(str(link))
        link = link.__cause__ or link.__context__  # type: ignore[assignment]
    return "\n".join(said)


def _code(path: Path) -> Iterator[str]:
    """What in the archive could run, in words; the two readers may see two archives in one file."""
    programs = []
    with zipfile.ZipFile(path) as archive:
        programs += [
            archive.read(entry)
            for entry in archive.infolist()
            if entry.filename.rpartition("/")[2] == _OLD_PROGRAM
        ]
    try:
        reader = torch._C.PyTorchFileReader(os.fspath(path))  # noqa: SLF001  what loading uses
    except RuntimeError:  # of before PyTorch 2.8
        reader = None
    for name in reader.get_all_records() if reader else ():
        if name.startswith("data/aotinductor/"):
            yield "compiled libraries"
        elif name.endswith(("_weights_config.json", "_constants_config.json")):
            yield from _objects(json.loads(reader.get_record(name)))
        elif name.startswith("models/"):
            programs.append(reader.get_record(name))
    for program in programs:
        yield from _strings(json.loads(program))


def _objects(config: dict[str, Any]) -> Iterator[str]:
    """Payloads that are not tensors."""
    for name, payload in config["config"].items():
        if payload["path_name"].startswith(("opaque_obj_", "custom_obj_")):
            yield f"the pickled object {name[:80]}"


def _strings(value: Any, key: str = "") -> Iterator[str]:
    """Texts of a program that are more than names, each with what it is."""
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _strings(inner, "expr_str" if key == "range_constraints" else "")
            if inner not in _FREE_TEXT:
                yield from _strings(one, inner)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one, key)
    elif isinstance(value, str) and not _is_harmless(value, key):
        yield f"{_WHAT.get(key, 'the name')} {value[:120]!r}"


_WHAT = {
    "target": "the operator",
    "as_operator": "the operator",
    "expr_str": "the shape",
    "guards_code": "the guard",
    "in_spec": "the structure",
    "out_spec": "the structure",
}


def _is_harmless(text: str, key: str) -> bool:
    if key in ("target", "as_operator"):
        return bool(text in _ARITHMETIC or _OPERATOR.fullmatch(text) or _FUNCTIONS.fullmatch(text))
    if key in ("expr_str", "guards_code"):
        return is_arithmetic(text)
    if key in ("in_spec", "out_spec"):
        return _is_structure(text)
    return _PLAIN.fullmatch(text) is not None


def _is_structure(text: str) -> bool:
    """Whether a tree of containers names no class that loading it would import."""
    if not text:
        return True
    try:
        waiting = [json.loads(text)]
    except (ValueError, RecursionError):
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if {"default_factory_module", "__enum__"} & set(value):
                return False
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and not _PLAIN.fullmatch(value):
            try:  # contexts are JSON in JSON
                waiting.append(json.loads(value))
            except (ValueError, RecursionError):
                return False
    return True


def is_arithmetic(text: str) -> bool:
    """Whether a text is an expression of shapes and nothing else, so that evaluating it is safe."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _EXPRESSION) and _is_allowed(node) for node in ast.walk(tree))


def _is_allowed(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr=name):
            return name in _SHAPES or (isinstance(node.value, ast.Name) and node.value.id == "math")
        case ast.Call(func=ast.Attribute()):
            return True  # of what attributes there may be
        case ast.Call(func=ast.Name(id=name)):
            return name in _ARITHMETIC_NAMES
        case ast.Call():
            return False
        case ast.Name(id=name):
            return not name.startswith("__")
        case ast.Constant(value=str() as value):
            return _PLAIN.fullmatch(value) is not None
    return True
