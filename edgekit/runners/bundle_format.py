"""The file of a recorded reference, ``.edgeref``: what is in it, and how it is written.

It is a zip archive whose members are stored without compression, so that none can unpack to more
than the file's own size:

- ``outputs/K/CCCCC.npy``: chunk C of output K, a stack of `Manifest.rows` samples (the last chunk
  has the rest), NumPy's format 1.0;
- ``samples.json``: ``[[id, digest], …]`` in the order of the rows;
- ``manifest.json``: everything else, with the SHA-256 of every other member.

The archive's comment, the last 64 bytes of the file, is the SHA-256 of all bytes before it. It
covers what the members' digests do not: the manifest, and the archive's own headers.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgekit.contract import Contract
from edgekit.errors import ModelError
from edgekit.types import LatencyReport, TensorSpec

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array

SCHEMA = "edgekit-reference"
VERSION = 1
MANIFEST = "manifest.json"
SAMPLES = "samples.json"
DIGEST_LENGTH = 64
"""Of SHA-256 in hexadecimal digits."""
DTYPES = frozenset(
    {"float32", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
)
_CHUNK_BYTES = 4 << 20
_MOST_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where recorded outputs come from.

    Attributes:
        name, kind: of the model; ``kind`` is that of the model source, or ``http``.
        digests: SHA-256 by what it is of: ``file``, ``weights`` (a file given beside it), ``state``
            (all weights as they were loaded). Empty for a model behind HTTP.
        device: what ran it.
        versions: of what ran it.
        hardware: the machine.
        data: what the data folder was called.
        created: UTC, ISO 8601.
        edgekit: the version that recorded it.
    """

    name: str
    kind: str
    digests: dict[str, str] = field(default_factory=dict)
    device: str
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    data: str
    created: str
    edgekit: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says about its rows.

    Attributes:
        outputs: with the shapes of one sample.
        pictures: the inputs that were made from pictures, by the contract's preprocessing.
        rows: samples per chunk.
        samples: how many there are.
        data_digest: SHA-256 over the samples' digests in order.
        latency: of single inferences, where it was measured.
        peak_memory_mb: of the process that ran the model, in units of 1,000,000 bytes.
    """

    origin: Origin
    contract: Contract
    outputs: tuple[TensorSpec, ...]
    pictures: tuple[str, ...]
    rows: int
    samples: int
    data_digest: str
    latency: LatencyReport | None = None
    peak_memory_mb: float | None = None

    def to_json(self, members: Mapping[str, str]) -> bytes:
        """As ``manifest.json``; ``members`` has the digest of every other member."""
        table = {**self.to_table(), "members": dict(members)}
        return json.dumps(table, indent=1, ensure_ascii=False).encode()

    def to_table(self) -> dict[str, Any]:
        """As plain data."""
        contract = json.loads(self.contract.to_json())
        return {"schema": SCHEMA, "version": VERSION, **asdict(self), "contract": contract}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError, UsageError: something is missing or makes no sense.
        """
        latency = table["latency"]
        return cls(
            origin=_origin(table["origin"]),
            contract=Contract.from_json(json.dumps(table["contract"])),
            outputs=tuple(map(_output, table["outputs"])),
            pictures=tuple(map(str, table["pictures"])),
            rows=_count(table["rows"], least=1),
            samples=_count(table["samples"], least=1),
            data_digest=str(table["data_digest"]),
            latency=_latency(latency) if latency else None,
            peak_memory_mb=None
            if table["peak_memory_mb"] is None
            else float(table["peak_memory_mb"]),
        )

    @property
    def chunks(self) -> int:
        """How many chunks each output has."""
        return math.ceil(self.samples / self.rows)

    def chunk_name(self, output: int, chunk: int) -> str:
        """The member with a chunk."""
        return f"outputs/{output}/{chunk:05d}.npy"

    def chunk_shape(self, output: int, chunk: int) -> tuple[int, ...]:
        """The shape of a chunk's stack."""
        rows = min(self.rows, self.samples - chunk * self.rows)
        shape = tuple(size or 0 for size in self.outputs[output].shape)
        return (rows, *shape[1:]) if shape[:1] == (1,) else (rows, *shape)


class BundleWriter:
    """Writes outputs chunk by chunk: memory does not grow with their number.

    Args:
        path: a file that the caller moves into place when `finish` is done.
        outputs: with the shapes of one sample.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, outputs: Sequence[TensorSpec]) -> None:
        import numpy as np

        self._path = path
        self._outputs = tuple(outputs)
        self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._members: dict[str, str] = {}
        self._samples: list[tuple[str, str]] = []
        self._waiting: list[list[Array]] = [[] for _ in outputs]
        size = sum(
            math.prod(one or 1 for one in spec.shape) * np.dtype(spec.dtype).itemsize
            for spec in outputs
        )
        self.rows = max(1, min(_MOST_ROWS, _CHUNK_BYTES // max(1, size)))

    def append(self, ids: Sequence[str], digests: Sequence[str], outputs: Sequence[Array]) -> None:
        """Add samples: their names, digests, and for each output a stack.

        Raises:
            ModelError: the outputs have other shapes or types than those before.
        """
        import numpy as np

        for spec, kept, stack in zip(self._outputs, self._waiting, outputs, strict=True):
            shape = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape
            if tuple(stack.shape) != (len(ids), *shape) or stack.dtype.name != spec.dtype:
                raise ModelError(
                    f"Output {spec.name} is {stack.dtype.name} {tuple(stack.shape)} for "
                    f"{len(ids)} samples; it was {spec.dtype} {spec.shape} for one before.",
                    cure="A .tflite file needs outputs of one shape: leave that step to the app.",
                )
            kept.extend(np.array(row) for row in stack)  # a copy: the stack can go
        self._samples += zip(ids, digests, strict=True)
        while len(self._waiting[0]) >= self.rows:
            self._flush(self.rows)

    def finish(
        self,
        *,
        origin: Origin,
        contract: Contract,
        pictures: Sequence[str],
        latency: LatencyReport | None,
        peak_memory_mb: float | None,
    ) -> Manifest:
        """Write the rest and seal the file."""
        if self._waiting[0]:
            self._flush(len(self._waiting[0]))
        manifest = Manifest(
            origin=origin,
            contract=contract,
            outputs=self._outputs,
            pictures=tuple(pictures),
            rows=self.rows,
            samples=len(self._samples),
            data_digest=data_digest([digest for _, digest in self._samples]),
            latency=latency,
            peak_memory_mb=peak_memory_mb,
        )
        self._add(SAMPLES, json.dumps(self._samples, ensure_ascii=False).encode())
        self._add(MANIFEST, manifest.to_json(self._members))
        self._archive.comment = b"0" * DIGEST_LENGTH
        self.close()
        with self._path.open("r+b") as stream:
            seal = whole_digest(stream)
            stream.seek(-DIGEST_LENGTH, 2)
            stream.write(seal.encode())
        return manifest

    def close(self) -> None:
        """Close the file, finished or not."""
        self._archive.close()

    def _flush(self, rows: int) -> None:
        import io

        import numpy as np

        chunk = (len(self._members) // len(self._outputs)) if self._outputs else 0
        for number, kept in enumerate(self._waiting):
            stream = io.BytesIO()
            np.lib.format.write_array(
                stream, np.stack(kept[:rows]), version=(1, 0), allow_pickle=False
            )
            self._add(f"outputs/{number}/{chunk:05d}.npy", stream.getvalue())
            del kept[:rows]

    def _add(self, name: str, content: bytes) -> None:
        # A ZipInfo of its own has a fixed date: the same outputs give the same members.
        self._archive.writestr(zipfile.ZipInfo(name), content)
        self._members[name] = hashlib.sha256(content).hexdigest()


def data_digest(digests: Sequence[str]) -> str:
    """SHA-256 over the digests of samples in order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def whole_digest(stream: BinaryIO) -> str:
    """SHA-256 of all bytes of a bundle but its last 64."""
    result = hashlib.sha256()
    left = stream.seek(0, 2) - DIGEST_LENGTH
    stream.seek(0)
    while left > 0 and (block := stream.read(min(left, 1 << 20))):
        result.update(block)
        left -= len(block)
    return result.hexdigest()


def _origin(table: Mapping[str, Any]) -> Origin:
    for name, value in table.items():
        texts = value.items() if isinstance(value, dict) else [(name, value)]
        if not all(isinstance(text, str) for pair in texts for text in pair):
            raise ValueError(f"origin: {name!r} is not text")
    return Origin(**table)


def _latency(table: Mapping[str, Any]) -> LatencyReport:
    return LatencyReport(
        samples_ms=tuple(map(float, table["samples_ms"])),
        threads=_count(table["threads"]),
        load_ms=float(table["load_ms"]),
        first_ms=float(table["first_ms"]),
        warmup=_count(table["warmup"]),
    )


def _output(table: Mapping[str, Any]) -> TensorSpec:
    if table["dtype"] not in DTYPES:
        raise ValueError(f"{table['dtype']!r} is not a type of an output")
    shape = tuple(_count(size) for size in table["shape"])
    return TensorSpec(
        name=str(table["name"]), shape=shape, dtype=table["dtype"], layout=table["layout"]
    )


def _count(value: Any, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 1 << 48:
        raise ValueError(f"{value!r} is not a number of something")
    return value
