"""Golden vectors: a few samples at every stage, in files that every language reads by itself.

A folder with ``index.txt`` and one file of bare values for each stage of each sample, in the order
of the array's axes (C order), little endian, without a header. ``index.txt`` is ASCII. Its first
line is ``edgekit-golden 1``. Lines that start with ``#`` are comments. Every other line has seven
words::

    STAGE SAMPLE FILE DTYPE SHAPE ATOL RTOL
    resized 0 0_resized.bin uint8 224x224x3 0 0

``STAGE`` is ``picture`` (uint8 RGB), ``resized`` (uint8 RGB after resize and crop), ``tensor``
(the input as stored), ``output0``, ``output1`` … (the file's outputs as stored), ``result``
(decoded) and, for detectors, ``located`` (with boxes in pixels of the picture). Two arrays agree
when their shapes are equal and every value is within ``ATOL + RTOL · |golden value|``.

Each stage is tested with the golden values of the stage before it, so that the first one to fail is
the one that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.embed.spec import Embedding, FileTensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgekit.embed.stages import Stages

    Array: TypeAlias = NDArray[Any]

VERSION = 1
INDEX = "index.txt"
_QUANTA = 3
"""How far stored outputs may be off: kernels on other processors round in another order."""


@dataclass(frozen=True, kw_only=True)
class GoldenFile:
    """One line of the index, and its values."""

    stage: str
    sample: int
    values: Array
    atol: float
    rtol: float

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.sample}_{self.stage}.bin"

    @property
    def line(self) -> str:
        """The line in the index."""
        shape = "x".join(map(str, self.values.shape)) or "1"
        words = (self.stage, self.sample, self.file, self.values.dtype.name, shape)
        return " ".join([*map(str, words), f"{self.atol:g}", f"{self.rtol:g}"])

    @property
    def data(self) -> bytes:
        """The values, little endian."""
        return self.values.astype(self.values.dtype.newbyteorder("<")).tobytes()


def golden_files(spec: Embedding, samples: Sequence[Stages]) -> dict[str, bytes]:
    """The folder's files by name, the index among them."""
    lines = [f"edgekit-golden {VERSION}"]
    files: dict[str, bytes] = {}
    for number, sample in enumerate(samples):
        lines.append(f"# sample {number}: {_plain(sample.name)}")
        for one in _of_sample(spec, number, sample):
            lines.append(one.line)
            files[one.file] = one.data
    files[INDEX] = ("\n".join(lines) + "\n").encode("ascii")
    return files


def _of_sample(spec: Embedding, number: int, stages: Stages) -> Iterator[GoldenFile]:
    def file(stage: str, values: Array, atol: float = 0.0, rtol: float = 0.0) -> GoldenFile:
        return GoldenFile(stage=stage, sample=number, values=values, atol=atol, rtol=rtol)

    resize = spec.input.resize
    exact = resize is None or resize.method in ("antialias", "bilinear", "nearest")
    yield file("picture", stages.picture)
    yield file("resized", stages.resized, 0 if exact else 1)
    yield file("tensor", stages.tensor, *_of_tensor(spec.input.tensor))
    for place, (values, tensor) in enumerate(zip(stages.outputs, spec.tensors, strict=True)):
        yield file(f"output{place}", values, *_of_output(tensor, values))
    flat = stages.result.dtype.kind == "f"
    yield file("result", stages.result, *((1e-3, 1e-4) if flat else (0, 0)))
    if stages.located is not None:
        yield file("located", stages.located, 1e-2, 1e-4)


def _of_tensor(tensor: FileTensor) -> tuple[float, float]:
    """Rounding to the nearest integer may go the other way where a division is fused."""
    if tensor.dtype.startswith("float"):
        return 1e-5, 1e-5
    return (1, 0) if tensor.quantization else (0, 0)


def _of_output(tensor: FileTensor, values: Array) -> tuple[float, float]:
    if tensor.dtype.startswith("float"):
        rounded = _QUANTA * tensor.step
        return max(1e-6, rounded, 1e-4 * float(abs(values).max(initial=0))), 1e-3
    return (_QUANTA, 0) if tensor.quantization else (0, 0)


def _plain(name: str) -> str:
    """A sample's name on one line of ASCII."""
    return name.encode("ascii", "replace").decode().replace("\n", " ")


def read_golden(folder: Path) -> dict[tuple[str, int], GoldenFile]:
    """The golden files by stage and sample; for tests and for those who write another reader."""
    import numpy as np

    first, *lines = (folder / INDEX).read_text(encoding="ascii").splitlines()
    if first != f"edgekit-golden {VERSION}":
        raise ValueError(f"{folder} is not a folder of golden vectors: {first!r}")
    found = {}
    for line in lines:
        if line.startswith("#"):
            continue
        stage, sample, file, dtype, shape, atol, rtol = line.split()
        sizes = tuple(map(int, shape.split("x")))
        values = np.fromfile(folder / file, np.dtype(dtype).newbyteorder("<")).reshape(sizes)
        found[stage, int(sample)] = GoldenFile(
            stage=stage, sample=int(sample), values=values, atol=float(atol), rtol=float(rtol)
        )
    return found
