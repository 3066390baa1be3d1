"""What can be wrong with calibration data, said in words.

`examine` looks at one sample and may run in any thread; `Checks` collects what all samples of one
role have in common or do not.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekit.calibration.tensors import Loaded
    from edgekit.contract import Contract, InputContract

    Array: TypeAlias = NDArray[Any]

FEWEST_FOR_CALIBRATION = 16
NEAR_BITS = 2
"""Pictures whose 64-bit difference hashes differ in at most so many bits are nearly the same."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one sample shows about itself.

    ``extents`` are the lowest and highest value of each model-ready float array; what went through
    the preprocessing is right by construction.
    """

    digest: str
    dhash: int | None = None
    constant: bool = False
    remarks: tuple[str, ...] = ()
    extents: dict[str, tuple[float, float]] = field(default_factory=dict)


def examine(loaded: Loaded, name: str) -> Facts:
    """Look at the tensors of one sample.

    Raises:
        DataError: a value is NaN or infinite.
    """
    import numpy as np

    digest = hashlib.sha256()
    extents = {}
    for key, tensor in loaded.tensors.items():
        digest.update(f"{key}\0{tensor.dtype.str}\0{tensor.shape}\0".encode())
        digest.update(tensor.data)
        if key in loaded.pictures or tensor.dtype.kind != "f" or not tensor.size:
            continue
        if not np.isfinite(tensor).all():
            raise DataError(
                f"{name}: input {key} holds NaN or infinite values.",
                cure="Remove the sample, or correct how it was made.",
            )
        extents[key] = float(tensor.min()), float(tensor.max())
    pictures = list(loaded.pictures.values())
    return Facts(
        digest=digest.hexdigest(),
        dhash=dhash(pictures[0]) if len(pictures) == 1 else None,
        constant=any(picture.min() == picture.max() for picture in pictures)
        or any(
            low == high and loaded.tensors[key].ndim == 4 for key, (low, high) in extents.items()
        ),
        remarks=loaded.remarks,
        extents=extents,
    )


def dhash(picture: Array) -> int | None:
    """The 64-bit difference hash of a uint8 picture; ``None`` if it shows too little to tell.

    Each bit says whether one of 8x8 cells is brighter than its left neighbour, so it stays nearly
    the same when a picture is scaled, compressed again or made brighter. After N. Krawetz, "Kind
    of Like That", 2013.
    """
    import cv2

    channels = picture.shape[2]
    gray = picture
    if channels > 1:
        code = cv2.COLOR_BGR2GRAY if channels == 3 else cv2.COLOR_BGRA2GRAY
        gray = cv2.cvtColor(picture, code)
    small = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA).reshape(8, 9).astype(int)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    if not 2 * NEAR_BITS <= bits.sum() <= 64 - 2 * NEAR_BITS:
        return None  # one colour or one gradient: all skies would look the same
    return int("".join("1" if bit else "0" for bit in bits), 2)


class Checks:
    """Collects the facts of all samples of one role, ``calibration`` or ``parity``.

    Args:
        role: how the notes name the set.
        known: digests of samples that may not come again, because another role has them.
    """

    def __init__(self, role: str, *, known: Sequence[str] = ()) -> None:
        self._role = role
        self._known = set(known)
        self._first: dict[str, str] = {}
        self._hashes: list[tuple[int, str]] = []
        self._extents: dict[str, tuple[float, float]] = {}
        self._told: dict[str, list[str]] = defaultdict(list)
        self.skipped: list[str] = []

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of the accepted samples, in order."""
        return tuple(self._first)

    def skip(self, name: str) -> None:
        """A sample could not be read."""
        self.skipped.append(name)

    def accept(self, name: str, facts: Facts) -> bool:
        """Take note of a sample; ``False`` if it is a copy of an earlier one."""
        if facts.digest in self._first:
            self._told["dropped as exact copies"].append(f"{name} = {self._first[facts.digest]}")
            return False
        if facts.digest in self._known:
            self._told["dropped as copies of calibration samples"].append(name)
            return False
        self._first[facts.digest] = name
        for remark in facts.remarks:
            self._told[remark].append(name)
        if facts.constant:
            self._told["of one single colour"].append(name)
        if facts.dhash is not None:
            self._hashes.append((facts.dhash, name))
        for key, (low, high) in facts.extents.items():
            lowest, highest = self._extents.get(key, (low, high))
            self._extents[key] = min(low, lowest), max(high, highest)
        return True

    def finish(self, contract: Contract) -> tuple[str, ...]:
        """The notes for the user, when all samples were seen.

        Raises:
            DataError: no sample is left, or the values are nowhere near what the model expects.
        """
        used = len(self._first)
        if not used:
            reason = f"unreadable: {listing(self.skipped)}" if self.skipped else "copies"
            raise DataError(
                f"No {self._role} sample is left, all are {reason}.",
                cure="Replace or remove them, and add others.",
            )
        notes = []
        if self.skipped:
            lost = f"{len(self.skipped)} unreadable, skipped"
            notes.append(f"{self._role}: {lost}: {listing(self.skipped)}")
        if self._role == "calibration" and used < FEWEST_FOR_CALIBRATION:
            notes.append(
                f"calibration: only {used} samples; ranges may miss what the app will see "
                f"(at least {FEWEST_FOR_CALIBRATION}, better 100)"
            )
        for what, names in self._told.items():
            notes.append(f"{self._role}: {len(names)} {what}: {listing(names)}")
        if near := near_copies(self._hashes):
            notes.append(f"{self._role}: {len(near)} nearly the same pictures: {listing(near)}")
        for entry in contract.inputs:
            if entry.tensor.name in self._extents:
                notes.extend(check_range(entry, *self._extents[entry.tensor.name]))
        return tuple(notes)


def near_copies(hashes: Sequence[tuple[int, str]]) -> list[str]:
    """Each picture that nearly repeats an earlier one, as ``name ~ earlier name``."""
    import numpy as np

    values = np.array([value for value, _ in hashes], np.uint64).view(np.uint8)
    # With bits as ±1, 64 minus the scalar product is twice the Hamming distance.
    bits = np.unpackbits(values).reshape(len(hashes), 64).astype(np.float32) * 2 - 1
    found = []
    for index in range(1, len(hashes)):
        near = np.flatnonzero(64 - bits[:index] @ bits[index] <= 2 * NEAR_BITS)
        if near.size:
            found.append(f"{hashes[index][1]} ~ {hashes[near[0]][1]}")
    return found


def check_range(entry: InputContract, low: float, high: float) -> tuple[str, ...]:
    """Compare the values of model-ready arrays with what the preprocessing would give.

    Raises:
        DataError: they reach more than four times as far as the stated range.
    """
    if entry.preprocess is None:
        return ()
    expected_low, expected_high = entry.preprocess.value_range
    middle, half = (expected_low + expected_high) / 2, (expected_high - expected_low) / 2
    reach = max(abs(low - middle), abs(high - middle))
    said = (
        f"input {entry.tensor.name}: the arrays hold values from {low:.3g} to {high:.3g}, the "
        f"contract expects {expected_low:.3g} to {expected_high:.3g}"
    )
    # A range that edgekit assumed is no reason to refuse what the user gave.
    if reach > 4 * half and not entry.assumed:
        raise DataError(
            f"{said[0].upper()}{said[1:]}.",
            cure="Normalise the arrays as in training, save uint8 pictures (N, height, width, 3), "
            "or correct scale, mean and std.",
        )
    tolerance = 0.01 * half
    outside = low < expected_low - tolerance or high > expected_high + tolerance
    raw = high - low < 0.05 * half or (expected_low < 0 <= low and high <= 1)
    return (f"{said}; were they normalised?",) if outside or raw else ()


def listing(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
