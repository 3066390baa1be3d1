"""Image to image: peak signal-to-noise ratio and structural similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit.errors import DataError
from edgekit.validation.metrics.protocol import (
    Batch,
    MetricSummary,
    Rows,
    Score,
    Settings,
    same_shape,
)
from edgekit.validation.statistics import bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

EQUAL_DB = 200.0
"""What equal pictures are given instead of infinity, as in `edgekit.validation.parity`."""
WINDOW = 11
SIGMA = 1.5


@dataclass(frozen=True, kw_only=True)
class ImageQuality:
    """Mean PSNR and mean SSIM over pictures, against labels and against the reference.

    Labels are pictures of the output's shape and range.

    Attributes:
        data_range: the largest value minus the smallest that a picture can have, such as 1 or 255.
        layout: where the channels of both outputs and of the labels are.
    """

    data_range: float = 1.0
    layout: Literal["NHWC", "NCHW"] = "NHWC"

    def measure(self, batch: Batch) -> Rows:
        """Per picture: PSNR and SSIM of three pairs, NaN where there is no label.

        Raises:
            DataError: shapes that differ, values beyond the range, or pictures below 11 pixels.
        """
        import numpy as np

        reference, candidate = batch.reference[0], batch.candidate[0]
        same_shape(reference, candidate)
        if (spread := float(np.ptp(reference))) > 1.5 * self.data_range:
            raise DataError(
                f"The reference's values span {spread:g}, beyond the range of {self.data_range:g}.",
                cure="State the range of the pictures, for example 255.",
            )
        rows: dict[str, list[tuple[float, float]]] = {}
        for mine, theirs, label in zip(reference, candidate, batch.labels, strict=True):
            rows.setdefault("agreement", []).append(self._compare(mine, theirs))
            for role, picture in (("candidate", theirs), ("reference", mine)):
                missing = (np.nan, np.nan)
                found = missing if label is None else self._compare(np.asarray(label), picture)
                rows.setdefault(role, []).append(found)
        known = np.array([label is not None for label in batch.labels])
        return {"labelled": known} | {role: np.array(pairs) for role, pairs in rows.items()}

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Means over pictures, and the reference's minus the candidate's."""
        import numpy as np

        named: list[tuple[str, Array]] = [
            ("psnr_to_reference_db", rows["agreement"][:, 0]),
            ("ssim_to_reference", rows["agreement"][:, 1]),
        ]
        known = rows["labelled"].astype(bool)
        if known.any():
            mine, theirs = rows["reference"][known], rows["candidate"][known]
            named += [
                ("psnr_db", theirs[:, 0]),
                ("reference_psnr_db", mine[:, 0]),
                ("psnr_drop_db", mine[:, 0] - theirs[:, 0]),
                ("ssim", theirs[:, 1]),
                ("reference_ssim", mine[:, 1]),
                ("ssim_drop", mine[:, 1] - theirs[:, 1]),
            ]
        return MetricSummary(
            scores=tuple(
                Score(
                    name=name,
                    value=float(np.mean(values)),
                    interval=bootstrap(
                        values,
                        draws=settings.draws,
                        confidence=settings.confidence,
                        seed=settings.seed,
                    ),
                    samples=len(values),
                )
                for name, values in named
            )
        )

    def _compare(self, wanted: Array, got: Array) -> tuple[float, float]:
        same_shape(wanted, got)
        if self.layout == "NCHW":
            wanted, got = wanted.transpose(1, 2, 0), got.transpose(1, 2, 0)
        return psnr(wanted, got, self.data_range), ssim(wanted, got, self.data_range)


def psnr(wanted: Array, got: Array, data_range: float) -> float:
    """10·log10(range² / mean squared error) in decibels, at most `EQUAL_DB`."""
    import numpy as np

    error = float(np.mean((np.asarray(wanted, np.float64) - np.asarray(got, np.float64)) ** 2))
    if error == 0:
        return EQUAL_DB
    return min(EQUAL_DB, float(10 * np.log10(data_range**2 / error)))


def ssim(wanted: Array, got: Array, data_range: float) -> float:
    """Mean structural similarity of two pictures (H, W) or (H, W, C).

    A Gaussian window of 11x11 with a deviation of 1.5 pixels, wherever it fits into the picture;
    the mean over channels. Source: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image
    Quality Assessment: From Error Visibility to Structural Similarity", 2004.

    Raises:
        DataError: a side is shorter than the window.
    """
    import numpy as np

    if min(wanted.shape[:2]) < WINDOW:
        raise DataError(
            f"Structural similarity needs {WINDOW}x{WINDOW} pixels; a picture has "
            f"{wanted.shape[0]}x{wanted.shape[1]}.",
            cure="Check the layout of the output, or use the task regression.",
        )
    x, y = np.asarray(wanted, np.float64), np.asarray(got, np.float64)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def _blur(picture: Array) -> Array:
    """Gaussian means of all windows that fit: (H, W, …) → (H - 10, W - 10, …)."""
    import numpy as np

    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    rows, columns = (size - WINDOW + 1 for size in picture.shape[:2])
    down = sum(weight * picture[k : k + rows] for k, weight in enumerate(weights))
    return np.asarray(sum(weight * down[:, k : k + columns] for k, weight in enumerate(weights)))
