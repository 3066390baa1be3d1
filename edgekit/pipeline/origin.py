"""Holding what was exported against the object that it was exported from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.closeness import EQUAL_DB, centred_db, channel_axis
from edgekit.errors import ModelError
from edgekit.objects import ObjectOrigin
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SAMPLES = 64
"""On so many samples at most the caller's own object is asked."""


def check_origin(
    origin: ObjectOrigin,
    specs: Sequence[TensorSpec],
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    names: Sequence[str],
) -> str:
    """Run the caller's own object on samples; its answers must be those of the reference.

    Args:
        origin: has the object.
        specs: of the inputs, each with the shape of one sample.
        inputs: stacks (N, …) in the order of the inputs.
        outputs: what the reference says about them, stacks (N, …).
        names: of the outputs, for messages.

    Returns:
        What was found, for the notes.

    Raises:
        ModelError: the object says something else than what was exported from it.
    """
    import numpy as np

    from edgekit.objects.origin import first_line, same_random_numbers

    assert origin.ask is not None
    own: list[list[Array]] = []
    with same_random_numbers():
        for place in range(len(inputs[0])):
            sample = [
                np.array(stack[place]).reshape([size or 1 for size in spec.shape])
                for stack, spec in zip(inputs, specs, strict=True)
            ]
            try:
                own.append(origin.ask(sample))
            except Exception as error:  # the caller's own code
                raise ModelError(
                    f"{origin.what} does not run on sample {place}, though its export does: "
                    f"{first_line(error)}",
                    cure="Calling it on one sample in Python must work.",
                ) from error
    if len(own[0]) != len(outputs):
        raise _differs(origin, f"it gives {len(own[0])} outputs, the export {len(outputs)}")
    worst = EQUAL_DB
    for name, wanted, column in zip(names, outputs, zip(*own, strict=True), strict=True):
        if any(np.size(one) != wanted[0].size for one in column):
            raise _differs(
                origin, f"output {name} has the shape {column[0].shape}, in the export another"
            )
        mine = np.stack([np.asarray(one).reshape(wanted.shape[1:]) for one in column])
        found = centred_db(mine, np.asarray(wanted), channel_axis(wanted.shape[1:]))
        if found < origin.least_db:
            raise _differs(
                origin,
                f"output {name} agrees to {found:.1f} dB over {len(mine)} samples; "
                f"{origin.least_db:.0f} are required",
            )
        worst = min(worst, found)
    equal = "equal" if worst >= EQUAL_DB else f"the same to {worst:.0f} dB"
    return f"Exported from {origin.what}: its own answers to {len(own)} samples are {equal}."


def _differs(origin: ObjectOrigin, how: str) -> ModelError:
    return ModelError(
        f"What was exported from {origin.what} does not compute what it does here: {how}.",
        cure="forward probably decides by values, by the shape of a batch, by random numbers, or "
        "by what it keeps from call to call. Write such parts with tensors alone (torch.where), "
        "or leave them out of the model.",
    )
