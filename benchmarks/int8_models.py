"""How good int8 files are on networks that edgekit was not developed on.

    python benchmarks/int8_models.py [--photos DIR DIR] [--models NAME …] [--rows NAME …]

Small networks of ten kinds are trained (up to three minutes each, kept in a cache), converted by
edgekit to float `.tflite`, and quantized by litert-quantizer as it comes and by edgekit at each
effort. The files are compared with the float file on samples whose photographs and digits neither
training nor calibration has seen. Where edgekit is worse than litert-quantizer by more than two
standard errors (paired bootstrap over the samples), the last lines say so.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from int8_rows import ROWS, STOCK, Array, Made, energies, latencies, make, outputs
from models.zoo import ZOO, Photos, Trained, in_order, trained
from rich.console import Console
from rich.table import Table

from edgekit.quantize.observe import SampleFeed
from edgekit.tflite.model import read

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = Path.home() / ".cache" / "edgekit-benchmarks"
_DRAWS = 500
_SURE = 2.0
_WORTH_DB = 0.05
"""Less than this is no difference, however sure it is."""


@dataclass(kw_only=True)
class Row:
    """What became of a network by one way of quantizing it.

    Attributes:
        energies: signal and noise of each output and sample, (outputs, 2, samples).
        scores: the task's figure per sample.
        latency: in parts of stock int8.
    """

    made: Made
    energies: Array
    scores: Array
    latency: float

    @property
    def worst_db(self) -> float:
        """The SQNR of the worst output."""
        return float(_worst_db(self.energies.sum(axis=-1)))


@dataclass(frozen=True, kw_only=True)
class Worse:
    """An effort that is worse than stock: by so many decibels, and how sure that is."""

    network: str
    row: str
    decibels: float
    error: float

    def __str__(self) -> str:
        return (
            f"{self.network}, {self.row}: {self.decibels:.2f} dB worse than litert-quantizer "
            f"(standard error {self.error:.2f})"
        )


def main() -> None:
    """Train, quantize, measure, print."""
    options = _options()
    console = Console(width=None if Console().is_terminal else 120)
    photos = _photos(options.photos)
    worse: list[Worse] = []
    for member in ZOO:
        if options.models and member.name not in options.models:
            continue
        console.print(f"{member.name}: training where it is not cached", style="dim")
        net = trained(
            member,
            photos,
            options.cache,
            calibration=options.samples,
            evaluation=options.evaluation_samples,
        )
        rows, score = measure(net, [row for row in ROWS if row in options.rows])
        console.print(_table(net, rows, score))
        worse += worse_than_stock(net.member.name, rows)
    for one in worse:
        console.print(str(one), style="bold red")
    if not worse:
        console.print("No effort is worse than litert-quantizer's own ranges beyond the noise.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photos",
        type=Path,
        nargs=2,
        help="folders to train and calibrate on, and to evaluate on (calibration_data)",
    )
    parser.add_argument("--models", nargs="*", choices=[member.name for member in ZOO], default=[])
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--samples", type=int, default=128, help="for calibration")
    parser.add_argument("--evaluation-samples", type=int, default=512)
    parser.add_argument("--cache", type=Path, default=CACHE)
    return parser.parse_args()


def _photos(folders: Sequence[Path] | None) -> Photos:
    if folders:
        seen, unseen = (tuple(sorted(folder.glob("*.jpg"))) for folder in folders)
        return Photos(seen=seen, unseen=unseen)
    return own_photos()


def own_photos() -> Photos:
    """The photographs of this repository."""
    own = REPOSITORY / "calibration_data"
    images = tomllib.loads((own / "manifest.toml").read_text(encoding="utf-8"))["images"]
    seen, unseen = (
        tuple(own / image["file"] for image in images if (image["split"] == "calibration") == first)
        for first in (True, False)
    )
    return Photos(seen=seen, unseen=unseen)


def measure(net: Trained, names: Sequence[str]) -> tuple[dict[str, Row], float]:
    """The rows by name, but for files in which the runtime stops; and the float file's figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calibration = [feed_of(net.model, net.calibration.image, folder / "calibration.npy")]
        evaluation = [feed_of(net.model, net.evaluation.image, folder / "evaluation.npy")]
        made = {row: make(row, ROWS[row], net.model, calibration, folder) for row in names}
        got = {row: found for row, one in made.items() if (found := _runs(one, evaluation))}
        times = latencies([made[row].path for row in got])
        wanted = in_order(net.member, outputs(net.model, evaluation))
        rows = {}
        for (row, found), time in zip(got.items(), times, strict=True):
            one, given = made[row], in_order(net.member, found)
            rows[row] = Row(
                made=one,
                energies=np.array([energies(*pair) for pair in zip(wanted, given, strict=True)]),
                scores=net.member.task.score(given, net.evaluation),
                latency=time / times[0],
            )
        return rows, float(net.member.task.score(wanted, net.evaluation).mean())


def _runs(made: Made, feeds: Sequence[SampleFeed]) -> list[Array]:
    """The outputs of a file; none where the runtime stops in it, which is said."""
    try:
        return outputs(made.path, feeds)
    except RuntimeError as error:
        Console().print(f"{made.title}: stops with {str(error).strip()[:200]}", style="bold red")
        return []


def feed_of(model: Path, values: Array, path: Path) -> SampleFeed:
    """Inputs (N, channels, …) for a file that may have the channels last."""
    np.save(path, values)
    shape = (1, *values.shape[1:])
    axes = tuple(range(len(shape)))
    last = (0, *axes[2:], 1) if len(shape) > 2 else axes
    (asked,) = (tensor.shape for tensor in read(model).main.inputs)
    for permutation in (axes, last):
        if tuple(shape[axis] for axis in permutation) == tuple(asked):
            return SampleFeed(stack=path, shape=shape, permutation=permutation)
    raise SystemExit(f"{model} reads {asked}, which {shape} does not fit")


def _worst_db(sums: Array) -> Array:
    """From sums of signal and noise, (outputs, 2, …), the SQNR of the worst output, (…)."""
    ratios = (sums[:, 0] + 1e-30) / (sums[:, 1] + 1e-30)
    return np.asarray(10 * np.log10(ratios).min(axis=0))


def worse_than_stock(network: str, rows: dict[str, Row]) -> list[Worse]:
    """What is worse than stock by more than the noise of the choice of samples."""
    stock = rows.get(STOCK)
    if stock is None:
        return []
    rng = np.random.default_rng(0)
    count = stock.energies.shape[-1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), _DRAWS).T
    found = []
    for name, row in rows.items():
        lost = stock.worst_db - row.worst_db
        error = float(np.std(_worst_db(stock.energies @ drawn) - _worst_db(row.energies @ drawn)))
        if lost > max(_SURE * error, _WORTH_DB):
            found.append(Worse(network=network, row=name, decibels=lost, error=error))
    return found


def _table(net: Trained, rows: dict[str, Row], score: float) -> Table:
    task = net.member.task
    figure = "{:.1%}" if task.percent else "{:.2f} dB"
    title = f"{net.member.name} ({net.member.kind}), {task.metric} {figure.format(score)} in float"
    table = Table("int8 file by", title=title)
    for heading in ("SQNR dB", task.metric, "time / stock", "seconds"):
        table.add_column(heading, justify="right")
    for row in rows.values():
        table.add_row(
            row.made.title,
            f"{row.worst_db:.2f}",
            figure.format(row.scores.mean()),
            f"{row.latency:.2f}",
            f"{row.made.seconds:.1f}",
        )
    return table


if __name__ == "__main__":
    main()
