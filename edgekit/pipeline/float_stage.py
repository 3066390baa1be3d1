"""A conversion half way: the float file that equals the model, in a folder that serves all schemes.

What is kept is what the second half needs to judge as `edgekit convert` does: the samples, what the
model itself said about them, and which tensor is which.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.calibration.samples import SampleSet
from edgekit.errors import SetupError
from edgekit.pipeline.floats import FloatFile
from edgekit.pipeline.kept_scales import KeptScales
from edgekit.pipeline.reference import Reference
from edgekit.plain import from_plain, to_plain
from edgekit.results import Attempt
from edgekit.types import Step
from edgekit.validation.probe import Probe

FLOAT_NAME = "float.tflite"
_TABLE = "stage.json"


@dataclass(frozen=True, kw_only=True)
class FloatStage:
    """A model and the float file that equals it.

    ``source_digest`` is of the model's file before, where there is one; ``kept`` has the scales of
    a source that is quantized already; ``notes`` and ``steps`` are those of the first half.
    """

    source_digest: str | None
    reference: Reference
    probe: Probe
    floating: FloatFile
    kept: KeptScales | None
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...]
    steps: tuple[Step, ...]


def save(stage: FloatStage, folder: Path) -> None:
    """Keep a stage in an empty folder, with copies of all that it names.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """

    def kept(path: Path, name: str) -> Path:
        shutil.copyfile(path, folder / name)
        return Path(name)

    moved = _moved(stage, kept)
    (folder / _TABLE).write_text(json.dumps(to_plain(moved)), encoding="utf-8")


def load(folder: Path) -> FloatStage:
    """Read what `save` kept.

    Raises:
        SetupError: the folder holds something else.
    """
    try:
        table = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
        stage = from_plain(FloatStage, table)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{folder} holds no float file that edgekit kept: {error}.") from error
    return _moved(stage, lambda path, _: folder / path)


def _moved(stage: FloatStage, to: Callable[[Path, str], Path]) -> FloatStage:
    """The same stage with its files elsewhere; ``to`` is given each path and a name for it."""

    def samples(one: SampleSet, role: str) -> SampleSet:
        named = enumerate(one.files.items())
        files = {name: to(path, f"{role}-{place}.npy") for place, (name, path) in named}
        return replace(one, files=files)

    def moved(one: Reference, prefix: str) -> Reference:
        answers = enumerate(one.files)
        # At other sizes nothing is calibrated: the samples are those of the whole.
        calibration = (
            one.data.calibration if prefix else samples(one.data.calibration, "calibration")
        )
        return replace(
            one,
            files=tuple(to(path, f"{prefix}reference-{place}.npy") for place, path in answers),
            data=replace(
                one.data,
                calibration=calibration,
                parity=samples(one.data.parity, f"{prefix}parity"),
            ),
            sizes=tuple(moved(there, f"size-{place}-") for place, there in enumerate(one.sizes)),
        )

    kept = stage.kept
    return replace(
        stage,
        floating=replace(stage.floating, path=to(stage.floating.path, FLOAT_NAME)),
        kept=kept
        and replace(
            kept,
            path=to(kept.path, "kept.tflite"),
            said=tuple(to(path, f"kept-{place}.npy") for place, path in enumerate(kept.said)),
        ),
        reference=moved(stage.reference, ""),
    )
