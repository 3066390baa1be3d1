"""The words of calibration: where samples come from, and what is made of them.

A `Source` knows its samples without having read them; a `Sample` reads its content when asked. A
`Dataset` is what stays: tensors in files, one file per input and role.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit.calibration.tensors import Content, Loaded, to_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgekit.contract import Contract
    from edgekit.types import TensorSpec

    Array: TypeAlias = NDArray[Any]
else:
    Array = Any  # `edgekit.plain` reads the types of fields while edgekit runs

Split: TypeAlias = Literal["calibration", "parity"]
Label: TypeAlias = "str | int | float | Array | None"
"""As the data has it: a name, a number, or a sample's row of an array of labels.

What it means as a class is up to `edgekit.datasets.classes.to_classes`, for those who need one.
"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample, not read yet.

    Attributes:
        id: its path relative to the folder, or ``name[index]``.
        read: gives the content, a picture or arrays by name; raises `DataError` if it cannot.
        label: what the data says about it, where it does.
        split: what a manifest says that it is for.
    """

    id: str
    read: Callable[[], Content]
    label: Label = None
    split: Split | None = None

    def load(self, contract: Contract) -> Loaded:
        """The tensors of this sample for a model: `Loaded.tensors` by input name.

        Raises:
            DataError: it cannot be read, or does not fit the model.
        """
        return to_tensors(self.read(), contract, self.id)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder or file with samples, in a fixed order.

    ``parallel`` tells whether samples may be read in any order at the same time (not a video's).
    """

    name: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    parallel: bool = True


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """The tensors for one role, in files.

    Attributes:
        files: input name -> ``.npy``, all samples stacked on axis 0 (see `stack_shape`).
        ids: where each sample comes from.
        labels: what the data says about each sample, ``None`` where nothing.
        digest: sha256 over names, types, shapes and bytes of all tensors in order, or
            ``synthetic``.
        pictures: the inputs that were made from pictures by the preprocessing; the others came as
            arrays that were ready for the model.
    """

    files: dict[str, Path]
    ids: tuple[str, ...]
    labels: tuple[Label, ...]
    digest: str
    synthetic: bool = False
    pictures: frozenset[str] = frozenset()

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a conversion calibrates with and what it is measured on.

    ``notes`` are warnings for the user; ``skipped`` names the samples that could not be read;
    ``classes`` are all names that label samples of the data (not only of the chosen ones), sorted.
    """

    calibration: SampleSet
    parity: SampleSet
    seed: int
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def stack_shape(spec: TensorSpec, n: int) -> tuple[int, ...]:
    """The shape of ``n`` samples of an input in one array.

    A batch axis of 1 becomes the axis of the samples; any other shape gets an axis in front:
    (1, 3, 224, 224) → (n, 3, 224, 224), (5, 2) → (n, 5, 2), () → (n,).
    """
    shape = tuple(dimension or 1 for dimension in spec.shape)
    return (n, *shape[1:]) if shape[:1] == (1,) else (n, *shape)


def take(stack: Array, spec: TensorSpec, index: int) -> Array:
    """Sample ``index`` of a stack, in the input's own shape. The inverse of `stack_shape`."""
    sample: Array = stack[index].reshape(tuple(dimension or 1 for dimension in spec.shape))
    return sample
