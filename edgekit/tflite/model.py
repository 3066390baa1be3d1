"""A `.tflite` file as a graph: read it, change it, write it.

`Model` is a thin, typed view of the schema's ``ModelT``, which stays reachable as ``raw``; its
parts are in :mod:`edgekit.tflite.graph`.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, EdgekitError, ModelError, SetupError, UsageError
from edgekit.files import kind_of, read_bytes, shown
from edgekit.tflite.flatbuffer import operator_name, pack, text, unpack
from edgekit.tflite.graph import Operator, Quantization, Subgraph, Tensor
from edgekit.tflite.uses import Uses
from edgekit.tflite.verify import IDENTIFIER, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Model",
    "Operator",
    "Quantization",
    "Subgraph",
    "Tensor",
    "loaded",
    "read",
    "read_made",
    "write",
    "write_bytes",
]


def read(path: Path) -> Model:
    """Read a `.tflite` file.

    Raises:
        UsageError: there is no such file.
        ModelError: it is not a `.tflite`, or it is damaged.
    """
    if kind_of(path) == "none":
        raise UsageError(f"There is no file {shown(path)}.", cure="Check the path.")
    data = read_bytes(path, ModelError, cure="Give the path of a .tflite file.")
    if not data:
        raise ModelError(f"{path} is empty.", cure="Convert or copy the model again.")
    if len(data) >= 8 and data[4:8] != IDENTIFIER:
        raise ModelError(
            f"{path} is not a .tflite file: it starts with {data[:8]!r}.",
            cure="Give a .tflite file, or make one with: edgekit convert",
        )
    try:
        return _parsed(data)
    except MalformedError as error:
        raise ModelError(
            f"{path} is damaged or cut off: {error}.", cure="Convert or copy the model again."
        ) from error


def loaded(model: Model | Path) -> Model:
    """A model that is in memory already, or read from its file."""
    return model if isinstance(model, Model) else read(model)


def _parsed(data: bytes) -> Model:
    raw, end = unpack(data)
    tail = data[end:]
    return Model(raw, tail=tail if tail.strip(b"\0") else b"", tail_start=end)


def read_made(made: Path | bytes, maker: str) -> Model:
    """Read what a program has just written, whose fault it is if that fails.

    Args:
        made: the file, or its bytes.
        maker: the program.

    Raises:
        ConversionError: it cannot be read.
    """
    try:
        return _parsed(made) if isinstance(made, bytes) else read(made)
    except (EdgekitError, MalformedError) as error:
        cause = getattr(error, "cause", str(error)).removeprefix(f"{made!s} ")
        why = error.__cause__ or cause
        raise ConversionError(
            f"{maker} wrote a file that cannot be read: {str(why).rstrip('.')}.",
            cure=f"The fault is {maker}'s: name another --route, or leave the scheme out.",
        ) from error


def write(model: Model, path: Path) -> None:
    """Write a model: the file appears whole or not at all, and is on the disk then.

    Raises:
        ModelError: the model does not fit into a flatbuffer (2 GB), or has operators that this
            schema cannot write.
        SetupError: the folder is missing or not writable, or the disk is full.
    """
    try:
        data = pack(model.raw)
    except MalformedError as error:
        raise ModelError(
            f"{path} cannot be written: {error}.", cure="Install a newer edgekit."
        ) from error
    if model.tail:
        # Never earlier than it was: a zip archive holds absolute offsets, and readers accept only
        # bytes added before them.
        data = data.ljust(model.tail_start, b"\0") + model.tail
    write_bytes(data, path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write the bytes of a file, which appears whole or not at all, and is on the disk then.

    Raises:
        SetupError: the folder is missing or not writable, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror}.",
            cure="Check that the folder exists, may be written to and has room.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@dataclass
class Model:
    """A whole file.

    Attributes:
        raw: the schema's ``ModelT``.
        tail: bytes behind the flatbuffer (MediaPipe's label archive, for example), kept as it is.
        tail_start: where the tail began in the file it was read from.
        uses: who reads and writes what, by the number of the subgraph; see `Subgraph.uses`.
    """

    raw: Any
    tail: bytes = field(default=b"", repr=False)
    tail_start: int = 0
    uses: dict[int, Uses] = field(default_factory=dict, repr=False, compare=False)
    _users: Counter[int] = field(default_factory=Counter, repr=False, compare=False)
    """How many use each buffer, as `buffer_users` has counted them."""
    _counted: int = field(default=0, repr=False, compare=False)

    @property
    def subgraphs(self) -> list[Subgraph]:
        """All subgraphs; the first is the main one."""
        return [Subgraph(self, index, raw) for index, raw in enumerate(self.raw.subgraphs)]

    @property
    def main(self) -> Subgraph:
        """The first subgraph: what ``invoke`` runs."""
        return Subgraph(self, 0, self.raw.subgraphs[0])

    @property
    def description(self) -> str:
        """What the converter wrote about itself, such as ``MLIR Converted.``."""
        return text(self.raw.description)

    @property
    def metadata(self) -> dict[str, bytes]:
        """The named metadata entries."""
        found: dict[str, bytes] = {}
        for entry in self.raw.metadata or ():
            data = self.raw.buffers[entry.buffer].data
            found.setdefault(text(entry.name), b"" if data is None else bytes(data))
        return found

    def set_metadata(self, name: str, value: bytes) -> None:
        """Add a metadata entry, or replace the one of that name."""
        from ai_edge_litert.schema_py_generated import MetadataT

        for entry in self.raw.metadata or ():
            if text(entry.name) == name:
                break
        else:
            entry = MetadataT(name=name)
            self.raw.metadata = self.raw.metadata or []
            self.raw.metadata.append(entry)
            self.use_buffer(None, 0)
        self.store(entry, value)

    def remove_metadata(self, name: str) -> None:
        """Remove the metadata entry of that name, where there is one."""
        gone = [entry for entry in self.raw.metadata or () if text(entry.name) == name]
        for entry in gone:
            self.raw.metadata.remove(entry)
            self.use_buffer(entry.buffer, None)
            if entry.buffer and self.buffer_users(entry.buffer) == 0:
                self.raw.buffers[entry.buffer].data = None

    def packed(self) -> bytes:
        """The bytes of the flatbuffer, without what lies behind it.

        Raises:
            ModelError: the model does not fit into a flatbuffer (2 GB), or has operators that this
                schema cannot write.
        """
        try:
            return pack(self.raw)
        except MalformedError as error:
            raise ModelError(
                f"The model cannot be written: {error}.", cure="Install a newer edgekit."
            ) from error

    def copy(self) -> Model:
        """A model of its own to change.

        The bytes of buffers are shared: they are exchanged, never changed in place.
        """
        return Model(_copied(self.raw), tail=self.tail, tail_start=self.tail_start)

    def buffer_users(self, index: int) -> int:
        """How many tensors and metadata entries use a buffer.

        They are counted once; `use_buffer` keeps the count.
        """
        tensors = sum(len(subgraph.tensors or ()) for subgraph in self.raw.subgraphs)
        if self._counted != tensors + len(self.raw.metadata or ()):
            self._users = Counter(self.buffer_uses())
            self._counted = self._users.total()
        return self._users[index]

    def use_buffer(self, old: int | None, new: int | None) -> None:
        """Note that a tensor or entry uses another buffer; ``None`` where it has come or gone."""
        if not self._counted:
            return
        for index, more in ((old, -1), (new, 1)):
            if index is not None:
                self._users[index] += more
                self._counted += more

    def store(self, holder: Any, data: Any) -> None:
        """Give a tensor's or an entry's schema object new bytes.

        A buffer shared with another is not touched: it gets a buffer of its own.
        """
        if holder.buffer == 0 or self.buffer_users(holder.buffer) > 1:
            old, holder.buffer = holder.buffer, self.add_buffer(data)
            self.use_buffer(old, holder.buffer)
        else:
            self.raw.buffers[holder.buffer].data = data

    def drop_buffers(self) -> None:
        """Empty the buffers that nobody uses."""
        used = set(self.buffer_uses())
        for index, buffer in enumerate(self.raw.buffers):
            if index not in used:
                buffer.data = None

    def buffer_uses(self) -> Iterator[int]:
        """The buffer of every tensor and metadata entry, one after the other."""
        for subgraph in self.raw.subgraphs:
            for tensor in subgraph.tensors or ():
                yield tensor.buffer
        for entry in self.raw.metadata or ():
            yield entry.buffer

    def add_buffer(self, data: Any) -> int:
        """Append a buffer and return its number."""
        from ai_edge_litert.schema_py_generated import BufferT

        self.raw.buffers.append(BufferT(data=data))
        return len(self.raw.buffers) - 1

    def operator_code(self, name: str, version: int = 1) -> int:
        """The number of a built-in operator's code, added where the file has none like it.

        Raises:
            ValueError: the schema knows no such operator.
        """
        from ai_edge_litert.schema_py_generated import BuiltinOperator, OperatorCodeT

        code = vars(BuiltinOperator).get(name)
        if code is None:
            raise ValueError(f"{name!r} is not an operator of the .tflite schema")
        codes = self.raw.operatorCodes = self.raw.operatorCodes or []
        for index, known in enumerate(codes):
            if operator_name(known) == name != "CUSTOM" and known.version == version:
                return index
        # Runtimes from before operator 127 read the older, one-byte field.
        codes.append(
            OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
        )
        return len(codes) - 1


def _copied(value: Any) -> Any:
    """Lists and objects of the schema anew, all else as it is."""
    if isinstance(value, list):
        return [_copied(one) for one in value]
    if not hasattr(value, "Pack"):
        return value
    twin = object.__new__(type(value))
    twin.__dict__.update({name: _copied(one) for name, one in vars(value).items()})
    return twin
