"""How TensorFlow Lite Micro's resolver calls operators, and which it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.targets.reading import load

if TYPE_CHECKING:
    from edgekit.embed.spec import Embedding

_PROFILE = "tflite-micro"
_UNLIKE_THE_RULE = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
}


def resolver_method(operator: str) -> str:
    """The method of ``MicroMutableOpResolver`` that adds an operator: CONV_2D → AddConv2D."""
    words = (word.capitalize() for word in operator.split("_"))
    return _UNLIKE_THE_RULE.get(operator, "Add" + "".join(words).replace("2d", "2D"))


def resolver_operators(spec: Embedding) -> tuple[tuple[str, str], ...]:
    """Each operator of the file once, with its method, by name.

    Raises:
        UsageError: the runtime has no kernel for one of them.
    """
    runtime = load(_PROFILE).runtime
    found = sorted({name for name, _, _ in spec.operators})
    known = {*(runtime.operators or ()), *runtime.custom} if runtime else set()
    if missing := [name for name in found if name not in known]:
        raise UsageError(
            f"TensorFlow Lite Micro has no kernel for {', '.join(missing)}.",
            cure="edgekit inspect FILE.tflite --target tflite-micro says more; "
            "convert with --target tflite-micro.",
        )
    return tuple((name, resolver_method(name)) for name in found)
