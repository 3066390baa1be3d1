"""The models of one run: received, checked, loaded into the runtime."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import re
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .facts import runtime_found
from .frames import AgentRefusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .frames import Header
    from .work import WorkFolder

_ROOM = 16 << 20
"""Bytes of disk that a model leaves free."""


class Models:
    """The models of one run: received, checked, loaded."""

    def __init__(self, folder: WorkFolder) -> None:
        self._folder = folder
        self._arriving: Any = None
        self._arriving_digest = hashlib.sha256()
        self._loaded: dict[str, LoadedFile] = {}

    def path(self, digest: Any) -> Path:
        """Where a model lies. The name is made here, from nothing but hexadecimal digits."""
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise AgentRefusal("protocol", "A model's digest must have 64 hexadecimal digits.")
        return self._folder.path / f"{digest}.tflite"

    def begin(self, digest: Any, size: Any) -> Header:
        """Get ready for a model of ``size`` bytes.

        Raises:
            AgentRefusal: the disk has no room for it.
        """
        path = self.path(digest)
        if path.exists():
            return {"have": True}
        free = self._folder.free_bytes()
        if free < size + _ROOM:
            raise _full(
                f"The device has {free / 1e6:.1f} MB free, the model needs {size / 1e6:.1f} MB "
                f"and {_ROOM / 1e6:.0f} MB to spare."
            )
        self._arriving = path.with_suffix(".part").open("wb")
        self._arriving_digest = hashlib.sha256()
        return {"have": False}

    def add(self, data: bytes) -> Header:
        """The next piece of the model that arrives, compressed by zlib.

        Raises:
            AgentRefusal: the disk is full, or a limit of the device's user is reached.
        """
        if self._arriving is None:
            raise AgentRefusal("protocol", "No model is arriving.")
        piece = zlib.decompress(data)
        try:
            self._arriving.write(piece)
            self._arriving.flush()
        except OSError as error:
            name = self._arriving.name
            with contextlib.suppress(OSError):  # what is still buffered fails again
                self._arriving.close()
            self._arriving = None
            Path(name).unlink()
            raise _full(f"The device cannot store the model: {error.strerror}.") from error
        self._arriving_digest.update(piece)
        return {}

    def finish(self, digest: Any) -> Header:
        """Keep the model that arrived.

        Raises:
            AgentRefusal: it is not the file that was announced.
        """
        path = self.path(digest)
        if self._arriving is None:
            raise AgentRefusal("protocol", "No model is arriving.")
        self._arriving.close()
        self._arriving = None
        if self._arriving_digest.hexdigest() != digest:
            path.with_suffix(".part").unlink()
            raise AgentRefusal("transport", "The model was damaged on its way to the device.")
        path.with_suffix(".part").replace(path)
        return {}

    def load(self, digest: Any, threads: int, *, plain: bool = False) -> LoadedFile:
        """An interpreter for a model, made once.

        Raises:
            AgentRefusal: the model is not here, or the runtime refuses it.
        """
        path = self.path(digest)
        if not path.exists():
            raise AgentRefusal("protocol", "That model is not on the device.")
        known = self._loaded.get(digest)
        if known is None or (known.threads, known.plain) != (threads, plain):
            self._loaded[digest] = known = LoadedFile(str(path), threads, plain=plain)
        return known

    def drop(self, digest: Any) -> Header:
        """Free a model's memory and its place on the disk."""
        path = self.path(digest)
        self._loaded.pop(digest, None)
        if path.exists():
            path.unlink()
        return {}


def _full(cause: str) -> AgentRefusal:
    return AgentRefusal("full", cause, "Free some space there.")


class LoadedFile:
    """A model in the runtime; ``plain``: with its plain C kernels and without delegates."""

    def __init__(self, path: str, threads: int, *, plain: bool = False) -> None:
        found = runtime_found()
        if found is None:
            raise AgentRefusal(
                "runtime",
                f"Python on the device ({sys.executable}) has no TFLite runtime.",
            )
        distribution, version, package = found
        try:
            module = importlib.import_module(package + ".interpreter")
        except Exception as error:
            raise AgentRefusal(
                "runtime",
                f"{distribution} {version} is there but does not start: {first_line(error)}",
                "tflite-runtime 2.14 needs numpy < 2." if package == "tflite_runtime" else "",
            ) from error
        self.threads, self.plain = threads, plain
        kinds = module.OpResolverType
        started = time.perf_counter()
        try:
            self._interpreter = module.Interpreter(
                model_path=path,
                num_threads=threads,
                experimental_op_resolver_type=kinds.BUILTIN_REF if plain else kinds.AUTO,
            )
            for detail in self._interpreter.get_input_details():
                if min(detail["shape"], default=1) < 1:  # an open dimension: a batch of one here
                    shape = [max(1, int(size)) for size in detail["shape"]]
                    self._interpreter.resize_tensor_input(detail["index"], shape)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise AgentRefusal(
                "model",
                f"{distribution} {version} does not load the model: {first_line(error)}",
                "An operator or its version is unknown to this runtime.",
            ) from error
        self.load_ms = 1e3 * (time.perf_counter() - started)
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def describe(self) -> Header:
        """Inputs and outputs in the file's order, named by its signature if it has one."""
        # The public get_signature_list() leaves out which tensor a name stands for.
        signatures = self._interpreter._get_full_signature_list()  # noqa: SLF001
        signature: Header = next(iter(signatures.values()), {})
        return {
            "inputs": _tensors(self._inputs, signature.get("inputs", {})),
            "outputs": _tensors(self._outputs, signature.get("outputs", {})),
            "load_ms": self.load_ms,
        }

    def feed(self, sample: Sequence[Any]) -> None:
        """Set the inputs, which have the types that the file stores."""
        if len(sample) != len(self._inputs):
            raise AgentRefusal("protocol", "The model has another number of inputs.")
        for number, detail in enumerate(self._inputs):
            self._interpreter.set_tensor(
                detail["index"], sample[number].reshape(tuple(detail["shape"]))
            )

    def invoke(self) -> None:
        """Run once.

        Raises:
            AgentRefusal: the runtime gives up.
        """
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            words = f"The runtime fails on the model: {first_line(error)}"
            raise AgentRefusal("model", words) from error

    def reset(self) -> None:
        """Clear the state that a graph keeps: each sample is a sequence of its own."""
        self._interpreter.reset_all_variables()

    def outputs(self) -> list[Any]:
        """The outputs as the file stores them."""
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]


def _tensors(details: Sequence[Any], names: Header) -> list[Header]:
    by_index = {index: name for name, index in names.items()}
    return [
        {
            "name": by_index.get(detail["index"], detail["name"]),
            "shape": [int(size) for size in detail["shape"]],
            "dtype": detail["dtype"].__name__,
            "scale": float(detail["quantization"][0]),
            "zero_point": int(detail["quantization"][1]),
        }
        for detail in details
    ]


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a message."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
