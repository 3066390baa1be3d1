"""Networks of every family that people bring, converted: what works, and how well.

    python benchmarks/zoo.py FOLDER [--only WORD …] [--limit N] [--jobs N] [--effort fast]
    python benchmarks/zoo.py FOLDER --table

Needs the extra ``zoo``. 166 architectures of timm, torchvision, transformers, Keras,
segmentation-models-pytorch and this folder are built with random weights
(`zoo_models/weights.py`), converted to ``fp32`` and ``int8`` on 32 computed samples, and judged
on 16 others, each in a process of its own. What edgekit calls right is checked again here: the
float file runs in LiteRT on 8 samples that edgekit has not seen, beside the network itself, with
none of edgekit's own code for comparing.

``FOLDER/zoo.jsonl`` has a line for each network; what is there for this version of edgekit is not
done again.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from zoo_models.listing import LISTED, Listed
from zoo_models.samples import samples
from zoo_models.weights import enliven, enliven_keras

import edgekit
from edgekit.results import ConversionResult, FileResult

STATE = "zoo.jsonl"
CALIBRATION, PARITY, UNSEEN = 32, 16, 8
RIGHT_DB = 60.0
_SECONDS = 900
_SEED = 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one network.

    Attributes:
        version: of edgekit.
        float_db: centred, of the float file, by edgekit.
        checked_db: the same measured here, on samples that edgekit has not seen.
        int8_raw_db, int8_db: of the int8 file, raw and centred.
        kept_float: operators of the int8 file that compute in float, with the reason.
        float_ms, int8_ms: median latency.
        reason: why there is no file, or no int8 file.
    """

    name: str
    family: str
    size: str
    version: str
    effort: str
    route: str = ""
    float_db: float | None = None
    checked_db: float | None = None
    float_state: str = ""
    int8_raw_db: float | None = None
    int8_db: float | None = None
    int8_state: str = ""
    integer_share: float | None = None
    kept_float: tuple[str, ...] = ()
    float_ms: float | None = None
    int8_ms: float | None = None
    seconds: float = 0.0
    reason: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the float file does what the network does."""
        return self.checked_db is not None and self.checked_db >= RIGHT_DB

    @property
    def is_silently_wrong(self) -> bool:
        """Whether a float file was delivered that does something else."""
        return self.checked_db is not None and self.checked_db < RIGHT_DB

    @property
    def has_int8(self) -> bool:
        """Whether there is an int8 file that runs."""
        return self.int8_db is not None


def main() -> None:
    """Convert what is not converted yet, print the table."""
    options = _options()
    if options.child:
        (listed,) = (one for one in LISTED if one.name == options.child)
        print(json.dumps(converted(listed, options.effort)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    state, version = options.folder / STATE, edgekit.__version__
    chosen = [
        one
        for one in LISTED
        if not options.only or any(word in (one.name, one.family) for word in options.only)
    ][: options.limit]
    if not options.table:
        done = {(row.name, row.version) for row in kept(state) if not options.again}
        missing = [one for one in chosen if (one.name, version) not in done]

        def run(listed: Listed) -> None:
            row = in_process(listed, options.effort, version)
            with state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(f"{row.seconds:6.0f} s  {summary(row)}", file=sys.stderr, flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(run, missing))
    names = [one.name for one in chosen]
    latest = {row.name: row for row in kept(state) if row.name in names}
    show([latest[name] for name in names if name in latest], len(names))


def kept(state: Path) -> list[Row]:
    """The rows of a state file, oldest first; a line that was cut off is left out."""
    if not state.is_file():
        return []
    names = {field.name for field in fields(Row)}
    rows = []
    for line in state.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        values["kept_float"] = tuple(values.get("kept_float", ()))
        rows.append(Row(**{key: value for key, value in values.items() if key in names}))
    return rows


def in_process(listed: Listed, effort: str, version: str) -> Row:
    """Convert in a process of its own, so that a crash costs one row."""
    blank = Row(
        name=listed.name, family=listed.family, size=listed.size, version=version, effort=effort
    )
    started = time.perf_counter()
    command = [sys.executable, __file__, "-", "--child", listed.name, "--effort", effort]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False,
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return replace(blank, reason=f"not done in {_SECONDS} s", seconds=_SECONDS)
    seconds = time.perf_counter() - started
    if run.returncode:
        said = (run.stderr.strip().splitlines() or [f"exit {run.returncode}"])[-1]
        return replace(blank, reason=f"the benchmark itself: {said}", seconds=seconds)
    values = json.loads(run.stdout.splitlines()[-1])
    values["kept_float"] = tuple(values.get("kept_float", ()))
    return replace(blank, **values, seconds=seconds)


def converted(listed: Listed, effort: str) -> dict[str, Any]:
    """Build, enliven, convert, check again: the fields of a `Row` that came out."""
    arrays = [
        samples(feed, CALIBRATION + PARITY + UNSEEN, _SEED + place)
        for place, feed in enumerate(listed.feeds)
    ]
    net, answer = built(listed, arrays)
    known = arrays[0][:-UNSEEN] if len(arrays) == 1 else [a[:-UNSEEN] for a in arrays]
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = edgekit.convert(
                net,
                example(arrays),
                calibration=_by_name(net, known),
                schemes=["fp32", "int8"],
                effort=effort,  # type: ignore[arg-type]  # choices of the option
                samples=CALIBRATION,
                parity_samples=PARITY,
                accept_few=True,
                standard_metadata=False,
                output=Path(folder) / "files",
            )
        except edgekit.EdgekitError as error:
            return {"reason": str(error)}
        unseen = [array[-UNSEEN:] for array in arrays]
        return {**figures(result), "checked_db": checked(result, answer, unseen)}


def _by_name(net: Any, known: Any) -> Any:
    """Arrays of several inputs by the names that the module's ``forward`` has."""
    if not isinstance(known, list):
        return known
    return dict(zip(inspect.signature(net.forward).parameters, known, strict=True))


def example(arrays: Sequence[NDArray[Any]]) -> Any:
    """The first sample of each input with its batch of 1, as tensors."""
    import torch

    return tuple(torch.from_numpy(a[:1]) for a in arrays)


def built(listed: Listed, arrays: Sequence[NDArray[Any]]) -> tuple[Any, Any]:
    """The network with weights from the seed, and a function from one sample to its outputs."""
    if listed.name.startswith("keras "):
        import keras

        keras.utils.set_random_seed(_SEED)
        keras_net = enliven_keras(listed.build(), arrays[0][:CALIBRATION], _SEED)
        return keras_net, lambda values: _flat(keras_net(values[0], training=False))
    import torch

    torch.manual_seed(_SEED)
    batch = [a[:CALIBRATION] if _takes_a_batch(listed) else a[:1] for a in arrays]
    net = enliven(listed.build().eval(), batch, _SEED)

    def answer(values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        with torch.no_grad():
            return _flat(net(*(torch.from_numpy(value) for value in values)))

    return net, answer


def _takes_a_batch(listed: Listed) -> bool:
    return listed.family not in ("text", "generators")


def _flat(value: Any) -> list[NDArray[Any]]:
    """The arrays of whatever a network returns, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [array for one in value for array in _flat(one)]
    return [np.asarray(value)]


def figures(result: ConversionResult) -> dict[str, Any]:
    """What the report says of the two files."""
    files = {file.scheme: file for file in result.files}
    found: dict[str, Any] = {
        "route": next((a.route for a in result.attempts if a.state == "used"), "")
    }
    if exact := files.get("fp32"):
        found["float_db"] = exact.metrics.get("centred_sqnr_db")
        found["float_state"], found["float_ms"] = exact.verdict.state, _median(exact)
    if small := files.get("int8"):
        found["int8_db"] = small.metrics.get("centred_sqnr_db")
        found["int8_raw_db"] = small.metrics.get("sqnr_db")
        found["int8_state"], found["int8_ms"] = small.verdict.state, _median(small)
        found["integer_share"], found["reason"] = small.integer_share, small.error
        counted = Counter((kept.op, kept.reason) for kept in small.kept_float)
        found["kept_float"] = tuple(f"{n} {op}: {why}" for (op, why), n in counted.items())
    return found


def _median(file: FileResult) -> float | None:
    return file.latency.percentile(50) if file.latency else None


def checked(result: ConversionResult, answer: Any, arrays: Sequence[NDArray[Any]]) -> float | None:
    """The float file on unseen samples against the network: centred dB of the worst output.

    The file's inputs are bound by shape, then by order; outputs by values, in the order of axes
    that fits best.
    """
    from ai_edge_litert.interpreter import Interpreter

    paths = [file.artifact.path for file in result.files if file.scheme == "fp32"]
    if not paths:
        return None
    wanted: list[list[NDArray[Any]]] = []
    got: list[list[NDArray[Any]]] = []
    for number in range(UNSEEN):
        inputs = [a[number : number + 1] for a in arrays]
        wanted.append(answer(inputs))
        interpreter = Interpreter(str(paths[0]))
        interpreter.allocate_tensors()
        free = interpreter.get_input_details()
        for value in inputs:
            place, turned = next(
                (place, value.transpose(axes))
                for place in free
                for axes in _orders(value.ndim)
                if tuple(place["shape"]) == value.transpose(axes).shape
            )
            interpreter.set_tensor(place["index"], turned.astype(place["dtype"]))
            free.remove(place)
        interpreter.invoke()
        got.append([interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()])
    return min(
        max(
            _db(stack, other.transpose(0, *(1 + axis for axis in axes)))
            for other in (np.stack([one[o] for one in got]) for o in range(len(got[0])))
            for axes in _orders(other.ndim - 1)
            if other.size == stack.size
        )
        for stack in (np.stack([one[o] for one in wanted]) for o in range(len(wanted[0])))
    )


def _orders(rank: int) -> list[tuple[int, ...]]:
    """As it is, channels last, channels first, then every other order of up to four axes."""
    if rank < 3:
        return [tuple(range(rank))]
    usual = [
        tuple(range(rank)), (0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1)),
    ]  # fmt: skip
    return usual + (list(itertools.permutations(range(rank))) if rank <= 4 else [])


def _db(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Variance over samples against the mean square of the error; 200 where there is none."""
    a = wanted.astype(np.float64).reshape(len(wanted), -1)
    b = got.astype(np.float64).reshape(len(got), -1)
    noise = float(((a - b) ** 2).mean())
    signal = float(((a - a.mean(axis=0)) ** 2).mean()) or float((a**2).mean())
    rounding = (np.finfo(np.float32).eps * float(np.abs(a).max())) ** 2
    if noise <= rounding:
        return 200.0
    return 10 * float(np.log10(signal / noise)) if signal else -200.0


def summary(row: Row) -> str:
    """A row in a line."""
    return (
        f"{row.name}: {row.route} float {_figure(row.float_db)} ({_figure(row.checked_db)} here), "
        f"int8 {_figure(row.int8_raw_db)} / {_figure(row.int8_db)} {row.int8_state} "
        f"{_figure(row.integer_share, 2)} {row.reason}"
    )


def _figure(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def show(rows: Sequence[Row], asked: int) -> None:
    """The table, and what it comes to."""
    table = Table("network", "input", "route", "float dB", "checked", "int8 dB raw", "centred", "",
                  "integer", "float ms", "int8 ms", "s", "reason", "in float")  # fmt: skip
    for row in rows:
        table.add_row(
            row.name, row.size, row.route, _figure(row.float_db), _figure(row.checked_db),
            _figure(row.int8_raw_db), _figure(row.int8_db), row.int8_state,
            _figure(row.integer_share, 2), _figure(row.float_ms, 2), _figure(row.int8_ms, 2),
            _figure(row.seconds, 0), row.reason, "; ".join(row.kept_float),
        )  # fmt: skip
    console = Console(width=None if Console().is_terminal else 400)
    console.print(table)
    whole = [row for row in rows if row.has_int8 and row.integer_share == 1.0]
    partly = [row for row in rows if row.has_int8 and row.integer_share != 1.0]
    print(f"{len(rows)} of {asked} networks")
    print(f"right float file: {sum(row.is_right for row in rows)}")
    print(f"silently wrong: {sum(row.is_silently_wrong for row in rows)}")
    print(f"int8 file that runs: {len(whole) + len(partly)}; all integer {len(whole)}")
    print(f"int8 verdicts: {dict(Counter(row.int8_state for row in rows))}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", help="names or families")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--effort", default="fast", choices=("none", "fast", "balanced"))
    parser.add_argument("--again", action="store_true", help="what is done already, too")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
