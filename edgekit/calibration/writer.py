"""Writes the tensors of one role to ``.npy`` files, sample by sample."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

from edgekit.calibration.samples import Label, SampleSet, stack_shape

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from edgekit.contract import Contract
    from edgekit.types import TensorSpec

    Array: TypeAlias = NDArray[Any]


class NpyWriter:
    """An ``.npy`` file that grows by a sample at a time and never holds two in memory.

    The header is written again at the end; NumPy pads it so that the number of samples can change.
    """

    def __init__(self, path: Path, spec: TensorSpec) -> None:
        self._spec = spec
        self._count = 0
        self._file: BinaryIO = path.open("wb")
        self._header()

    def append(self, tensor: Array) -> None:
        """Add one sample of the input's own shape and type."""
        self._file.write(tensor.data)
        self._count += 1

    def close(self) -> None:
        """Write the true header."""
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        import numpy as np

        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(np.dtype(self._spec.dtype)),
                "fortran_order": False,
                "shape": stack_shape(self._spec, self._count),
            },
        )


class SetWriter:
    """Writes one role's `SampleSet`; a context manager that closes the files."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        specs = [entry.tensor for entry in contract.inputs]
        self._files = {
            # Names of inputs hold slashes and colons; the number keeps them apart.
            spec.name: folder / f"{index}_{re.sub(r'[^A-Za-z0-9_.-]', '_', spec.name)[:80]}.npy"
            for index, spec in enumerate(specs)
        }
        self._writers = {spec.name: NpyWriter(self._files[spec.name], spec) for spec in specs}
        self._ids: list[str] = []
        self._labels: list[Label] = []
        self._digest = hashlib.sha256()
        self._pictures: set[str] = set()

    def append(
        self,
        tensors: dict[str, Array],
        name: str,
        label: Label,
        digest: str,
        pictures: Iterable[str] = (),
    ) -> None:
        """Add a sample with the digest of its tensors, and which of them were pictures."""
        for key, writer in self._writers.items():
            writer.append(tensors[key])
        self._ids.append(name)
        self._labels.append(label)
        self._digest.update(digest.encode())
        self._pictures.update(pictures)

    def result(self, *, synthetic: bool = False) -> SampleSet:
        """The finished set."""
        return SampleSet(
            files=self._files,
            ids=tuple(self._ids),
            labels=tuple(self._labels),
            digest="synthetic" if synthetic else self._digest.hexdigest(),
            synthetic=synthetic,
            pictures=frozenset(self._pictures),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()
