"""A `torch.nn.Module` as an ExportedProgram, written where the module lives."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError, UsageError
from edgekit.objects.origin import EXACT_DB, Exported, ObjectOrigin, first_line, name_of
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_HALF_DB = 25.0
"""A module in half precision agrees with its float32 form about so far after many layers."""
_ACCELERATOR_DB = 40.0
"""Convolutions of a GPU may round to 10 bits of mantissa (TF32)."""
_WRAPPERS = ("module", "_orig_mod")
"""Where DataParallel and `torch.compile` keep what they wrap."""


def export(model: Any, example: object, inputs: Sequence[TensorSpec], folder: Path) -> Exported:
    """Write a module, a ScriptModule or an ExportedProgram to a folder.

    The module is put into inference mode, exported by `torch.export` and put back: modes, buffers
    and gradients are afterwards what they were. Where it computes on another device or in another
    precision, a float32 copy on the CPU is exported.

    Args:
        model: the object.
        example: what `forward` is given: a tensor or array, a tuple of them, a dict by parameter.
        inputs: shapes that the user stated; they win over the example's.
        folder: an existing one.

    Raises:
        UsageError: there is no example, or the module cannot take it.
        ModelError: the module has no weights yet, or cannot be exported.
    """
    import torch

    if isinstance(model, torch.export.ExportedProgram):
        return _program(model, folder)
    module = _unwrapped(model)
    _refuse_empty(module)
    words = f"{type(module).__name__} (torch.nn.Module)"
    with _in_inference_mode(module):
        arguments = _arguments(module, example, inputs)
        plain, notes = _plain_copy(module)
        arguments = {name: _to_float32(value) for name, value in arguments.items()}
        arguments, answer, more = _one_sample(plain, arguments, stated=bool(inputs))
        ask = _asking(module, tuple(arguments))
        if isinstance(plain, torch.jit.ScriptModule):
            path = folder / f"{name_of_module(module)}.pt"
            plain.save(str(path))
            specs = tuple(_spec(name, value) for name, value in arguments.items())
        else:
            path = folder / f"{name_of_module(module)}.pt2"
            program = _exported(plain, arguments, answer)
            torch.export.save(program, path)
            names = program.graph_signature.user_inputs
            specs = tuple(
                _spec(str(name), value)
                for name, value in zip(names, arguments.values(), strict=True)
            )
    least = EXACT_DB
    if plain is not module:
        kinds = {value.dtype for value in module.state_dict().values() if _is_half(value)}
        least = _HALF_DB if kinds else _ACCELERATOR_DB
    origin = ObjectOrigin(what=words, ask=ask, least_db=least, notes=(*notes, *more))
    return Exported(path=path, inputs=specs, origin=origin)


def name_of_module(module: Any) -> str:
    """What its files are called; a traced module is called after the class that it was made of."""
    return str(getattr(module, "original_name", "")) or name_of(module)


def _program(program: Any, folder: Path) -> Exported:
    import torch

    path = folder / "program.pt2"
    torch.export.save(program, path)
    names = set(program.graph_signature.user_inputs)
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    specs = tuple(
        TensorSpec(
            name=node.name,
            shape=tuple(size if isinstance(size, int) else None for size in value.shape),
            dtype=str(value.dtype).removeprefix("torch."),
        )
        for node in placeholders
        if node.name in names
        for value in (node.meta["val"],)
    )
    return Exported(path=path, inputs=specs, origin=ObjectOrigin(what="an ExportedProgram"))


def _unwrapped(model: Any) -> Any:
    """The module in the shell of DataParallel, DistributedDataParallel or `torch.compile`."""
    import torch

    shells = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while isinstance(model, shells) or type(model).__name__ == "OptimizedModule":
        model = next(getattr(model, name) for name in _WRAPPERS if hasattr(model, name))
    return model


def _refuse_empty(module: Any) -> None:
    import torch

    lazy = torch.nn.parameter.UninitializedTensorMixin
    for name, value in _tensors(module):
        if isinstance(value, lazy):
            raise ModelError(
                f"{type(module).__name__} has no weights yet: {name} gets its shape at the first "
                "call.",
                cure="Call the module once, train it, and convert it then.",
            )
        if value.device.type == "meta":
            raise ModelError(
                f"{type(module).__name__} has no weights: {name} is on the meta device.",
                cure="Load the weights: module.to_empty(device='cpu'), then load_state_dict(…).",
            )


def _tensors(module: Any) -> Iterator[tuple[str, Any]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


@contextmanager
def _in_inference_mode(module: Any) -> Iterator[None]:
    """Evaluation mode without gradients or autocast; modes and buffers are put back afterwards."""
    import torch

    modes = [(part, part.training) for part in module.modules()]
    kept = [
        (value, value.detach().clone(), value._version)  # noqa: SLF001  the only count of writes
        for value in module.buffers()
        if not value.is_inference()
    ]
    try:
        for part, _ in modes:
            part.training = False
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.no_grad())
            for place in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
                stack.enter_context(torch.autocast(place, enabled=False))
            yield
    finally:
        with torch.no_grad():
            for value, before, version in kept:
                if value._version != version:  # noqa: SLF001
                    value.copy_(before)
        for part, mode in modes:
            part.training = mode


def _arguments(module: Any, example: object, inputs: Sequence[TensorSpec]) -> dict[str, Any]:
    """The example by the names of `forward`'s parameters, in their order."""
    parameters = [
        one
        for one in inspect.signature(module.forward).parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    ]
    if example is None and inputs:
        example = {spec.name: _stated(spec) for spec in inputs}
        if not set(example) <= {one.name for one in parameters}:
            example = tuple(example.values())
    if example is None:
        example = getattr(module, "example_input_array", None)  # Lightning's
    if example is None:
        raise UsageError(
            "A PyTorch module does not tell the shape of its inputs.",
            cure="Give an example: edgekit.convert(model, torch.zeros(1, 3, 224, 224), …)",
        )
    if isinstance(example, Mapping):
        return _by_name(module, {str(key): value for key, value in example.items()}, parameters)
    if _is_shape(example):
        raise UsageError(
            f"example_inputs is the shape {tuple(example)}, not a tensor.",  # type: ignore[arg-type]
            cure=f"Give torch.zeros{tuple(example)}",  # type: ignore[arg-type]
        )
    values = list(example) if isinstance(example, list | tuple) else [example]
    names = [one.name for one in parameters if one.kind != one.KEYWORD_ONLY]
    names += [f"input_{place}" for place in range(len(names), len(values))]  # of *args
    return {name: _tensor(value, name) for name, value in zip(names, values, strict=False)}


def _by_name(
    module: Any, example: dict[str, Any], parameters: list[inspect.Parameter]
) -> dict[str, Any]:
    names = [one.name for one in parameters]
    takes_any = any(
        one.kind == one.VAR_KEYWORD for one in inspect.signature(module.forward).parameters.values()
    )
    unknown = [name for name in example if name not in names]
    if unknown and not takes_any:
        raise UsageError(
            f"forward of {type(module).__name__} has no parameter {', '.join(unknown)}.",
            cure=f"It has: {', '.join(names)}",
        )
    ordered = [name for name in names if name in example] + unknown
    return {name: _tensor(example[name], name) for name in ordered}


def _is_shape(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 1
        and all(type(size) is int for size in value)
    )


def _stated(spec: TensorSpec) -> Any:
    """An input of a stated shape; for tracing, never for judging anything."""
    import torch

    dtype = getattr(torch, spec.dtype)
    shape = [size or 1 for size in spec.shape]
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def _tensor(value: object, name: str) -> Any:
    import numpy as np
    import torch

    try:
        found = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The example for {name} is a {type(value).__name__}, which is not a tensor or array.",
            cure="example_inputs is what forward is given: torch.zeros(1, 3, 224, 224)",
        ) from error
    return found.detach().cpu()


def _is_half(value: Any) -> bool:
    return bool(value.is_floating_point()) and value.element_size() < 4


def _to_float32(value: Any) -> Any:
    return value.float() if value.is_floating_point() else value


def _plain_copy(module: Any) -> tuple[Any, tuple[str, ...]]:
    """The module itself where it computes in float32 on the CPU, else a copy that does."""
    import torch

    kinds = {value.dtype for _, value in _tensors(module) if value.is_floating_point()}
    places = {value.device.type for _, value in _tensors(module)}
    if kinds <= {torch.float32} and places <= {"cpu"}:
        return module, ()
    try:
        plain = copy.deepcopy(module)
    except Exception as error:  # modules can hold anything
        raise ModelError(
            f"{type(module).__name__} computes in {_words(kinds)} on {', '.join(sorted(places))} "
            f"and cannot be copied: {first_line(error)}",
            cure="Convert model.float().cpu() of your own.",
        ) from error
    note = (
        f"The module computes in {_words(kinds)} on {', '.join(sorted(places))}; exported was a "
        "float32 copy on the CPU"
    )
    return plain.cpu().float(), (f"{note}.",)


def _words(kinds: set[Any]) -> str:
    return " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))


def _one_sample(
    module: Any, arguments: dict[str, Any], *, stated: bool
) -> tuple[dict[str, Any], Any, tuple[str, ...]]:
    """The arguments, cut to one sample where they are a batch; what the module answers; a note."""
    sizes = {value.shape[0] for value in arguments.values() if value.dim() > 1}
    batch = sizes.pop() if len(sizes) == 1 else 1
    if batch > 1 and not stated:
        cut = {
            name: value[:1] if value.shape[:1] == (batch,) else value
            for name, value in arguments.items()
        }
        note = f"example_inputs hold {batch} samples; the files take one at a time."
        with suppress(UsageError):  # a fixed first axis: then the example is meant as it is
            return cut, _answer(module, cut), (note,)
    return arguments, _answer(module, arguments), ()


def _answer(module: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        return _call(module, arguments)
    except Exception as error:
        shapes = ", ".join(
            f"{name} {tuple(value.shape)} {_words({value.dtype})}"
            for name, value in arguments.items()
        )
        raise UsageError(
            f"{type(module).__name__} does not run on example_inputs ({shapes}): "
            f"{first_line(error)}",
            cure="Give what forward is given: its shapes, types, and the number and order of "
            "inputs.",
        ) from error


def _takes_names(module: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether `forward` must be called by keywords: it leaves out or demands some by name."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return False
    parameters = inspect.signature(module.forward).parameters
    places = [
        one.name
        for one in parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    known = set(arguments) <= set(parameters) or any(
        one.kind == one.VAR_KEYWORD for one in parameters.values()
    )
    return list(arguments) != places[: len(arguments)] and known


def _call(module: Any, arguments: Mapping[str, Any]) -> Any:
    if _takes_names(module, arguments):
        return module(**arguments)
    return module(*arguments.values())


def _exported(module: Any, arguments: dict[str, Any], answer: Any) -> Any:
    import torch

    traced = module
    if _takes_names(module, arguments) or not _is_plain(answer):
        traced = _shell(module, tuple(arguments))
    try:
        return torch.export.export(traced, tuple(arguments.values()), strict=False)
    except Exception as error:  # torch.export raises whatever it meets on its way
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        raise ModelError(
            f"torch.export cannot capture {type(module).__name__}: {first_line(root)}",
            cure="forward must not decide by the values of its tensors: write such branches with "
            "torch.where, move loops over values into the app, and remove hooks that turn tensors "
            "into numbers. See: torch.export.export(model.eval(), (example,))",
        ) from error


def _shell(module: Any, names: tuple[str, ...]) -> Any:
    """A module that gives tensors by name for others in order, whatever the module itself takes."""
    import torch

    class Shell(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not there for mypy
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *tensors: Any) -> dict[str, Any]:
            return _flat(_call(self.model, dict(zip(names, tensors, strict=True))))

    # torch.export names a program's inputs after the parameters.
    kind = inspect.Parameter.POSITIONAL_ONLY
    signature = inspect.Signature([inspect.Parameter(one, kind) for one in ("self", *names)])
    Shell.forward.__signature__ = signature  # type: ignore[attr-defined]
    shell = Shell()
    shell.eval()
    return shell


def _is_plain(value: Any) -> bool:
    """Whether a value is made of tensors in plain containers, which a file can name."""
    import torch

    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, torch.Tensor)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The tensors of an output by name, in the order in which exporters flatten them."""
    import torch

    if isinstance(value, torch.Tensor):
        return {prefix or "output": value}
    parts: Iterator[tuple[Any, Any]]
    if isinstance(value, Mapping):
        parts = iter(value.items())
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    elif is_dataclass(value):
        parts = ((one.name, getattr(value, one.name)) for one in fields(value))
    elif value is None:
        return {}
    else:
        raise ModelError(
            f"forward returns a {type(value).__name__}, which is not a tensor.",
            cure="Return tensors, or tuples or dicts of them.",
        )
    found: dict[str, Any] = {}
    for name, part in parts:
        found |= _flat(part, f"{prefix}_{name}" if prefix else str(name))
    return found


def _spec(name: str, value: Any) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(value.shape), dtype=_words({value.dtype}))


def _asking(module: Any, names: tuple[str, ...]) -> Callable[[Sequence[Array]], list[Array]]:
    """Ask the caller's own module, on its own device and in its own precision."""
    import numpy as np
    import torch

    like = next((value for _, value in _tensors(module) if value.is_floating_point()), None)

    def ask(inputs: Sequence[Array]) -> list[Array]:
        given = {}
        for name, array in zip(names, inputs, strict=True):
            value = torch.from_numpy(np.array(array))
            if like is not None:
                value = value.to(like.device, like.dtype if value.is_floating_point() else None)
            given[name] = value
        with _in_inference_mode(module):
            answer = _flat(_call(module, given))
        return [
            np.array(_to_float32(value).cpu().numpy()) if _is_half(value) else value.cpu().numpy()
            for value in answer.values()
        ]

    return ask
