"""What each task trains by and is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.nets import CLASSES
from models.scenes import SIZE, Array, Batch

Wanted = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task.

    Attributes:
        metric: the name of its figure, larger is better.
        percent: whether the figure is a share.
        inputs: from the batch to what the network reads.
        loss: of the network's result.
        score: one figure per sample, from the outputs as the network has them (channels first).
        shapes: of the outputs for one sample, in the network's order.
    """

    metric: str
    percent: bool
    loss: Callable[[object, Wanted], Tensor]
    score: Callable[[Sequence[Array], Batch], Array]
    shapes: tuple[tuple[int, ...], ...]
    inputs: Callable[[Batch], Array] = lambda batch: batch.image


def _classification(classes: int) -> Task:
    def loss(result: object, wanted: Wanted) -> Tensor:
        assert isinstance(result, Tensor)
        return functional.cross_entropy(result, wanted["label"], label_smoothing=0.05)

    def score(outputs: Sequence[Array], batch: Batch) -> Array:
        return np.asarray(outputs[0].argmax(1) == batch.wanted["label"], np.float64)

    return Task(metric="accuracy", percent=True, loss=loss, score=score, shapes=((classes,),))


def _mask_loss(result: object, wanted: Wanted) -> Tensor:
    assert isinstance(result, Tensor)
    return functional.binary_cross_entropy_with_logits(result, wanted["mask"])


def _overlap(outputs: Sequence[Array], batch: Batch) -> Array:
    """Intersection over union of the digit's pixels."""
    given, wanted = outputs[0] > 0, batch.wanted["mask"] > 0.5
    both = (given & wanted).sum(axis=(1, 2, 3))
    either = (given | wanted).sum(axis=(1, 2, 3))
    return np.asarray(both / np.maximum(either, 1))


def _picture_loss(result: object, wanted: Wanted) -> Tensor:
    assert isinstance(result, Tensor)
    return functional.mse_loss(result, wanted["clean"])


def _psnr(outputs: Sequence[Array], batch: Batch) -> Array:
    error = np.square(outputs[0] - batch.wanted["clean"]).mean(axis=(1, 2, 3))
    return np.asarray(-10 * np.log10(error + 1e-10))


def _half(batch: Batch) -> Array:
    """The pictures at half their size, −2…2."""
    small = [
        cv2.resize(picture.transpose(1, 2, 0), (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
        for picture in batch.image
    ]
    return np.stack(small).transpose(0, 3, 1, 2)


def _detail_loss(result: object, wanted: Wanted) -> Tensor:
    # The network adds to the enlarged input, which lies in −2…2.
    assert isinstance(result, Tensor)
    return functional.l1_loss(result, (wanted["clean"] - 0.5) * 4)


def _detail_psnr(outputs: Sequence[Array], batch: Batch) -> Array:
    return _psnr([outputs[0] / 4 + 0.5], batch)


_CENTRES = np.array(
    [
        ((column + 0.5) * stride, (row + 0.5) * stride)
        for stride in (4, 8)
        for row in range(SIZE // stride)
        for column in range(SIZE // stride)
    ],
    np.float32,
)
"""The middle (x, y) of each cell of both scales, in pixels, (80, 2)."""


def _corners(distances: Tensor) -> Tensor:
    centres = torch.from_numpy(_CENTRES)
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], -1)


def _boxes_loss(result: object, wanted: Wanted) -> Tensor:
    """Scores by cross entropy, boxes by their overlap, which the cells in a box's middle learn."""
    assert isinstance(result, tuple)
    distances, scores = result
    box = wanted["box"][:, None]
    middle, size = (box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]
    near = ((torch.from_numpy(_CENTRES) - middle).abs() <= size / 4).all(-1)
    target = functional.one_hot(wanted["label"], CLASSES)[:, None] * near[..., None]
    weight = 1 + 3 * target
    by_class = functional.binary_cross_entropy(scores, target.float(), weight=weight.float())
    corners = _corners(distances)
    both = (
        (
            torch.minimum(corners[..., 2:], box[..., 2:])
            - torch.maximum(corners[..., :2], box[..., :2])
        )
        .clamp(min=0)
        .prod(-1)
    )
    either = (corners[..., 2:] - corners[..., :2]).prod(-1) + size.prod(-1) - both
    by_box = 1 - both / either.clamp(min=1e-3)
    return 20 * by_class + (by_box * near).sum() / near.sum()


def _found(outputs: Sequence[Array], batch: Batch) -> Array:
    """1 where the best cell has the right class and its box overlaps the true one by half."""
    distances, scores = outputs
    cell = scores.max(axis=2).argmax(axis=1)
    every = np.arange(len(cell))
    right = scores[every, cell].argmax(axis=1) == batch.wanted["label"]
    sides = distances[every, cell]
    low, high = _CENTRES[cell] - sides[:, :2], _CENTRES[cell] + sides[:, 2:]
    box = batch.wanted["box"]
    both = np.clip(np.minimum(high, box[:, 2:]) - np.maximum(low, box[:, :2]), 0, None).prod(1)
    either = (high - low).prod(1) + (box[:, 2:] - box[:, :2]).prod(1) - both
    return np.asarray(right & (both / np.maximum(either, 1e-3) >= 0.5), np.float64)


def _point_maps(box: Tensor) -> Tensor:
    """A bell of width 1.5 around the upper left and the lower right corner: (N, 2, 16, 16)."""
    corners = box.reshape(-1, 2, 1, 1, 2) / 2
    cells = torch.arange(SIZE // 2) + 0.5
    across = (cells - corners[..., 0]) ** 2
    down = (cells[:, None] - corners[..., 1]) ** 2
    return torch.exp(-(across + down) / (2 * 1.5**2))


def _points_loss(result: object, wanted: Wanted) -> Tensor:
    assert isinstance(result, Tensor)
    return 20 * functional.mse_loss(result, _point_maps(wanted["box"]))


def _points_found(outputs: Sequence[Array], batch: Batch) -> Array:
    """Share of the two points within two pixels."""
    maps = outputs[0]
    places = maps.reshape(*maps.shape[:2], -1).argmax(-1)
    found = np.stack([places % (SIZE // 2), places // (SIZE // 2)], -1) * 2 + 1
    apart = np.linalg.norm(found - batch.wanted["box"].reshape(-1, 2, 2), axis=-1)
    return np.asarray((apart <= 2).mean(axis=1), np.float64)


CLASSIFICATION = _classification(CLASSES)
SIGNALS = _classification(8)
SEGMENTATION = Task(
    metric="IoU", percent=True, loss=_mask_loss, score=_overlap, shapes=((1, SIZE, SIZE),)
)
RECONSTRUCTION = Task(
    metric="PSNR", percent=False, loss=_picture_loss, score=_psnr, shapes=((3, SIZE, SIZE),)
)
ENLARGEMENT = Task(
    metric="PSNR",
    percent=False,
    loss=_detail_loss,
    score=_detail_psnr,
    shapes=((3, SIZE, SIZE),),
    inputs=_half,
)
DETECTION = Task(
    metric="found",
    percent=True,
    loss=_boxes_loss,
    score=_found,
    shapes=((len(_CENTRES), 4), (len(_CENTRES), CLASSES)),
)
POSE = Task(
    metric="points",
    percent=True,
    loss=_points_loss,
    score=_points_found,
    shapes=((2, SIZE // 2, SIZE // 2),),
)
