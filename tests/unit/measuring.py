"""A reference whose outputs are given, as a conversion has one after its model has run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.calibration import Dataset, SampleSet
from edgekit.contract import Contract, InputContract, OutputContract, Task
from edgekit.pipeline.reference import Reference
from edgekit.types import Layout, TensorSpec


def reference_of(
    folder: Path,
    *outputs: np.ndarray[Any, Any],
    shape: tuple[int, ...] | None = None,
    task: Task | None = None,
    layout: Layout | None = None,
) -> Reference:
    """Outputs named y, y1 … of samples s0, s1 …, whose inputs are noise."""
    count = len(outputs[0])
    noise = np.random.default_rng(0).normal(size=(count, 300)).astype(np.float32)
    np.save(folder / "x.npy", noise)
    specs, files = [], []
    for number, stack in enumerate(outputs):
        name = f"y{number or ''}"
        np.save(folder / f"{name}.npy", stack)
        files.append(folder / f"{name}.npy")
        specs.append(TensorSpec(name=name, shape=shape or (1, *stack.shape[1:]), layout=layout))
    samples = SampleSet(
        files={"x": folder / "x.npy"},
        ids=tuple(f"s{number}" for number in range(count)),
        labels=(None,) * count,
        digest="digest",
    )
    return Reference(
        contract=Contract(
            inputs=(InputContract(tensor=TensorSpec(name="x", shape=(1, 300))),),
            outputs=tuple(
                OutputContract(tensor=spec, task=None if number else task)
                for number, spec in enumerate(specs)
            ),
        ),
        outputs=tuple(specs),
        files=tuple(files),
        data=Dataset(calibration=samples, parity=samples, seed=0),
    )
