"""What the networks learn from: a digit on a photograph, with its class, mask and box; signals.

The digits are scikit-learn's, the photographs those of a folder. Evaluation has digits and
photographs of its own, which neither training nor calibration has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SIZE = 32
_LAST_SEEN_DIGIT = 1400
_SMALLEST_CROP = 64


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples: the input and what the networks shall make of it, by name, (N, …)."""

    image: Array
    wanted: dict[str, Array]

    def __len__(self) -> int:
        return len(self.image)


def scenes(photos: Sequence[Path], count: int, *, seed: int, seen: bool) -> Batch:
    """Digits on photographs: image −2…2 (N, 3, 32, 32) and, of it, label, mask, box and clean.

    The mask is 0 or 1, a box is (x0, y0, x1, y1) in pixels, clean is the picture in 0…1.

    Args:
        photos: the photographs to cut backgrounds from.
        count: how many.
        seed: of everything drawn.
        seen: digits for training; otherwise the others.
    """
    rng = np.random.default_rng(seed)
    backgrounds = [_picture(path) for path in photos]
    digits, classes = _digits(seen=seen)
    made = [_scene(rng, backgrounds, digits) for _ in range(count)]
    pictures, masks, boxes, chosen = (np.stack(part) for part in zip(*made, strict=True))
    clean = pictures.transpose(0, 3, 1, 2).astype(np.float32)
    return Batch(
        image=(clean - 0.5) * 4,
        wanted={
            "label": classes[chosen],
            "mask": masks[:, None].astype(np.float32),
            "box": boxes.astype(np.float32),
            "clean": clean,
        },
    )


def _scene(
    rng: np.random.Generator, backgrounds: list[Array], digits: Array
) -> tuple[Array, Array, Array, int]:
    photo = backgrounds[rng.integers(len(backgrounds))]
    side = int(rng.integers(_SMALLEST_CROP, min(photo.shape[:2]) + 1))
    top, left = (int(rng.integers(0, limit - side + 1)) for limit in photo.shape[:2])
    picture = cv2.resize(
        photo[top : top + side, left : left + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA
    )
    index = int(rng.integers(len(digits)))
    size = int(rng.integers(16, 29))
    alpha = cv2.resize(digits[index], (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    y, x = (int(rng.integers(0, SIZE - size + 1)) for _ in range(2))
    full = np.zeros((SIZE, SIZE), np.float32)
    full[y : y + size, x : x + size] = alpha
    # Ink that stands out from what is behind it.
    behind = float(picture[y : y + size, x : x + size].mean())
    shade = rng.uniform(0.75, 1.0) if behind < 0.5 else rng.uniform(0.0, 0.25)
    ink = np.clip(shade + rng.normal(0, 0.08, 3), 0, 1).astype(np.float32)
    picture = picture * (1 - full[..., None]) + ink * full[..., None]
    rows, columns = np.nonzero(full > 0.5)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return picture, full > 0.5, box, index


@lru_cache(maxsize=512)
def _picture(path: Path) -> Array:
    picture = cv2.imread(str(path))
    if picture is None:
        raise SystemExit(f"{path} is no picture")
    return np.asarray(picture[..., ::-1], np.float32) / 255  # OpenCV has blue first


def _digits(*, seen: bool) -> tuple[Array, Array]:
    from sklearn.datasets import load_digits

    data = load_digits()
    part = slice(0, _LAST_SEEN_DIGIT) if seen else slice(_LAST_SEEN_DIGIT, None)
    return (data.images[part] / 16).astype(np.float32), data.target[part]


def flat_digits(count: int, *, seed: int, seen: bool) -> Batch:
    """Digits as 64 values, shifted and scaled at random like a sensor's: (N, 64); label."""
    rng = np.random.default_rng(seed)
    digits, classes = _digits(seen=seen)
    chosen = rng.integers(0, len(digits), count)
    values = digits[chosen].reshape(count, 64) * rng.uniform(0.6, 1.2, (count, 1))
    noisy = values + rng.normal(0, 0.05, values.shape)
    return Batch(image=noisy.astype(np.float32), wanted={"label": classes[chosen]})


def waves(count: int, *, seed: int) -> Batch:
    """Eight kinds of signals in noise: (N, 1, 256); label."""
    rng = np.random.default_rng(seed)
    time = np.arange(256) / 256
    labels = rng.integers(0, 8, count)
    values = np.stack([_wave(rng, time, int(label)) for label in labels])
    loud = values * rng.lognormal(0, 0.4, (count, 1)) + rng.normal(0, 0.15, values.shape)
    return Batch(image=loud[:, None].astype(np.float32), wanted={"label": labels})


def _wave(rng: np.random.Generator, time: Array, kind: int) -> Array:
    turns = rng.uniform(5, 14) * time + rng.uniform()
    sine = np.sin(2 * np.pi * turns)
    match kind:
        case 0:
            return sine
        case 1:
            return np.sign(sine)
        case 2:
            return 2 * (turns % 1) - 1
        case 3:
            return np.abs(4 * (turns % 1) - 2) - 1
        case 4:
            return np.sin(2 * np.pi * turns * (0.5 + 1.5 * time))
        case 5:
            return sine * (0.6 + 0.6 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
        case 6:
            return (turns % 1 < 0.1) * 2.0
        case _:
            return np.convolve(rng.normal(0, 1, 260), np.ones(5) / 5**0.5, "valid")
