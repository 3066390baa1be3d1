"""Loaders, data sets, arrays and generators as a stream of items; nothing of theirs is changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_MOST_INDICES = 1_000_000
"""So many places a sampler is asked for before some of them are chosen."""


@dataclass(frozen=True, kw_only=True)
class Items:
    """What a caller's data gives, one item after the other.

    Attributes:
        values: inputs, (inputs, label), or a dict.
        batched: whether axis 0 of an item counts samples; `None` where it has to be seen.
        chosen: whether the items were drawn from all that there are, in a random order.
    """

    values: Iterable[object]
    batched: bool | None
    chosen: bool


def items_of(data: Any, *, limit: int, seed: int) -> Items:
    """At most ``limit`` samples of whatever the caller has, drawn at random if it can be indexed.

    A `DataLoader` is not iterated itself, which would start its processes and move its generators:
    its data set, sampler and collating function are asked in its place, a sample at a time.

    Raises:
        DataError: it is nothing that gives samples.
    """
    torch, tf = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch and isinstance(data, torch.utils.data.DataLoader):
        return _from_loader(data, limit, seed)
    if torch and isinstance(data, torch.utils.data.IterableDataset):
        return Items(values=data, batched=False, chosen=False)
    if tf and isinstance(data, tf.data.Dataset):
        return Items(values=data, batched=None, chosen=False)
    if isinstance(data, Mapping):
        return _from_columns(data, limit, seed)
    if isinstance(data, tuple) and _is_pair(data):
        pairs = _Rows(len(data[1]), lambda place: (data[0][place], data[1][place]))
        return Items(values=_drawn(pairs, limit, seed), batched=False, chosen=True)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, bytes):
        # A list may hold batches, as a keras.utils.PyDataset does; the others hold samples.
        single = is_array(data) or hasattr(data, "column_names")  # the latter is Hugging Face's
        single = single or bool(torch and isinstance(data, torch.utils.data.Dataset))
        values = _drawn(data, limit, seed)
        return Items(values=values, batched=False if single else None, chosen=True)
    if callable(data) and not hasattr(data, "__iter__"):  # a generator function
        data = data()
    if isinstance(data, Iterable):
        return Items(values=data, batched=None, chosen=False)
    raise DataError(
        f"Data of type {type(data).__name__} gives no samples.",
        cure="Give a path, a DataLoader, a data set, an array with samples on axis 0, or a list.",
    )


def is_array(value: object) -> bool:
    """Whether a value is an array or tensor of some framework."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")


def _is_pair(data: tuple[Any, ...]) -> bool:
    """(x, y) as Keras takes them: arrays of one length."""
    return (
        len(data) == 2
        and all(map(is_array, data))
        and len(data[0].shape) > 1
        and data[0].shape[0] == data[1].shape[0]
    )


@dataclass(frozen=True)
class _Rows:
    """Columns seen as rows."""

    length: int
    row: Callable[[int], object]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> object:
        return self.row(place)


def _from_columns(data: Mapping[str, Any], limit: int, seed: int) -> Items:
    """A dict of arrays by input name, samples on axis 0."""
    lengths = {name: len(column) for name, column in data.items() if hasattr(column, "__len__")}
    if not lengths or len(lengths) < len(data) or len(set(lengths.values())) > 1:
        raise DataError(
            "The arrays of the dict have different numbers of samples: "
            f"{', '.join(f'{name} {lengths.get(name, 0)}' for name in data) or 'it is empty'}.",
            cure="Give one array for each input, by its name, with samples on axis 0.",
        )
    rows = _Rows(
        next(iter(lengths.values())),
        lambda place: {name: column[place] for name, column in data.items()},
    )
    return Items(values=_drawn(rows, limit, seed), batched=False, chosen=True)


def _from_loader(loader: Any, limit: int, seed: int) -> Items:
    import torch

    dataset, collate = loader.dataset, loader.collate_fn
    whole = loader.batch_size is None and loader.batch_sampler is None  # the data set makes batches
    batched = None if whole else True

    def collated(item: object) -> object:
        return collate(item if whole else [item])

    if isinstance(dataset, torch.utils.data.IterableDataset):
        return Items(values=map(collated, dataset), batched=batched, chosen=False)
    places = _places(loader, limit, seed)
    return Items(
        values=(collated(dataset[place]) for place in places), batched=batched, chosen=True
    )


def _places(loader: Any, limit: int, seed: int) -> list[int]:
    """Some of the places that the loader's sampler would take."""
    from torch.utils import data

    count = len(loader.dataset)
    sampler = loader.sampler
    if loader.batch_size is None and loader.batch_sampler is not None:
        batches = islice(iter(loader.batch_sampler), _MOST_INDICES)
        every = [place for batch in batches for place in batch]
    elif type(sampler) in (data.SequentialSampler, data.RandomSampler):
        every = list(range(count))
    else:
        with _same_generator(sampler):
            every = list(islice(iter(sampler), min(_MOST_INDICES, max(4 * limit, count))))
    every = list(dict.fromkeys(every))
    return [every[place] for place in _draw(len(every), limit, seed)]


class _same_generator:  # noqa: N801  reads as a statement
    """A sampler's own generator goes on afterwards as if nothing had been drawn."""

    def __init__(self, sampler: Any) -> None:
        self._generator = getattr(sampler, "generator", None)

    def __enter__(self) -> None:
        self._state = self._generator.get_state() if self._generator is not None else None

    def __exit__(self, *_: object) -> None:
        if self._generator is not None:
            self._generator.set_state(self._state)


def _drawn(rows: Any, limit: int, seed: int) -> Iterator[object]:
    """Rows at random places, each at most once."""
    for place in _draw(len(rows), limit, seed):
        yield rows[place]


def _draw(count: int, limit: int, seed: int) -> list[int]:
    import numpy as np

    return [int(place) for place in np.random.default_rng(seed).permutation(count)[:limit]]
