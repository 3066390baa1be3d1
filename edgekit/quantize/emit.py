"""Writing the quantized graph with litert-quantizer, given our ranges."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from edgekit.errors import ConversionError
from edgekit.quantize.observe import Ranges
from edgekit.tflite.model import Model, read, write
from edgekit.types import CALIBRATED_SCHEMES, Scheme

if TYPE_CHECKING:
    from typing import Any

_NOTHING = 1e-6
"""A tensor that never was further from zero than this was never used."""


@dataclass(frozen=True, kw_only=True)
class Exceptions:
    """Operators, named by their first output, that do not compute in 8 bits.

    Attributes:
        floating: left in float.
        sixteen: with 16-bit activations and 8-bit weights.
        only: where given, everything but these is left in float; wins over the others.
    """

    floating: frozenset[str] = frozenset()
    sixteen: frozenset[str] = frozenset()
    only: frozenset[str] | None = None


NO_EXCEPTIONS = Exceptions()


def emit(
    model: Path,
    output: Path,
    scheme: Scheme,
    ranges: Ranges | None = None,
    exceptions: Exceptions = NO_EXCEPTIONS,
) -> None:
    """Quantize ``model`` into ``output``.

    Args:
        model: a float `.tflite`.
        output: the file to write.
        scheme: any but ``fp32``.
        ranges: of every float tensor; needed by the calibrated schemes.
        exceptions: operators that are computed with more than 8 bits.

    Raises:
        ConversionError: litert-quantizer refuses the model.
    """
    from litert_quantizer import quantizer

    loaded = read(model)
    _refuse_what_cannot_be_right(loaded, scheme)
    if scheme == "int16x8" or exceptions.sixteen:
        model = output.with_suffix(".float")
        _allow_any_scale(loaded)
        write(loaded, model)
    engine = quantizer.Quantizer(str(model))
    _set_recipe(engine, scheme)
    if exceptions != NO_EXCEPTIONS:
        _set_exceptions(engine, loaded, scheme, exceptions)
    statistics = None
    if scheme in CALIBRATED_SCHEMES:
        if ranges is None:
            raise ValueError(f"{scheme} needs ranges")
        statistics = {name: _statistics(low, high) for name, (low, high) in ranges.items()}
    try:
        result = engine.quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        )
    except (ValueError, RuntimeError, KeyError, NotImplementedError, IndexError) as error:
        raise ConversionError(
            f"litert-quantizer cannot write {scheme}: {str(error).strip().splitlines()[-1][:300]}",
            cure="Leave this scheme out with --scheme, or try another --route.",
        ) from error
    output.write_bytes(result.quantized_model)


def _refuse_what_cannot_be_right(model: Model, scheme: Scheme) -> None:
    if any(t.quantization is not None and t.dtype != "float32" for t in model.main.tensors):
        raise ConversionError(
            "The file is quantized already.", cure="Start from the float file of the model."
        )
    if scheme in CALIBRATED_SCHEMES and len(model.subgraphs) > 1:
        raise ConversionError(
            f"The graph has a loop or a branch (WHILE, IF), which {scheme} cannot cross.",
            cure="Use --scheme dynamic-int8, or unroll the loop in the model.",
        )


def _allow_any_scale(model: Model) -> None:
    """Tell 16-bit ADD and SUB that scales are no powers of two.

    The schema's default says that they are, litert-quantizer leaves it so, and the runtime then
    refuses the file ("input1_shift <= 0 was not true").
    """
    for operator in model.main.operators:
        if operator.name in ("ADD", "SUB"):
            operator.options.potScaleInt16 = False


def _set_recipe(engine: Any, scheme: Scheme) -> None:
    from litert_quantizer import algorithm_manager, qtyping, recipe

    algorithm, operation = algorithm_manager.AlgorithmName, qtyping.TFLOperationName
    match scheme:
        case "fp16":
            engine.add_weight_only_config(
                regex=".*",
                operation_name=operation.ALL_SUPPORTED,
                num_bits=16,
                algorithm_key=algorithm.FLOAT_CASTING,
            )
        case "dynamic-int8":
            engine.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        case "weight-only-int8":
            engine.load_quantization_recipe(recipe.weight_only_wi8_afp32())
        case "int16x8":
            engine.load_quantization_recipe(recipe.static_wi8_ai16())
        case "int8":
            engine.load_quantization_recipe(recipe.static_wi8_ai8())
        case "int8-float-io":
            engine.load_quantization_recipe(recipe.static_wi8_ai8())
            for border in (operation.INPUT, operation.OUTPUT):
                engine.update_quantization_recipe(
                    regex=".*", operation_name=border, algorithm_key=algorithm.NO_QUANTIZE
                )
        case "fp32":
            raise ValueError("fp32 is the float file itself")
        case _:
            assert_never(scheme)


def _set_exceptions(engine: Any, model: Model, scheme: Scheme, exceptions: Exceptions) -> None:
    """Later recipes win, and each is found by a pattern on the names of an operator's outputs."""
    from litert_quantizer import algorithm_manager, qtyping

    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    floating = exceptions.floating
    if exceptions.only is not None:
        floating = frozenset(op.outputs[0].name for op in model.main.operators) - exceptions.only
    if floating:
        engine.update_quantization_recipe(
            regex=_any_of(floating),
            operation_name=everything,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
    if exceptions.sixteen and exceptions.only is None:
        engine.add_static_config(
            regex=_any_of(exceptions.sixteen),
            operation_name=everything,
            activation_num_bits=16,
            weight_num_bits=8,
        )
    if scheme == "int8-float-io":
        return
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        # The graph's ends go by the names of their tensors too, and must stay integer.
        engine.add_static_config(
            regex="^",
            operation_name=border,
            activation_num_bits=16 if scheme == "int16x8" else 8,
            weight_num_bits=8,
        )


def _any_of(names: Collection[str]) -> str:
    """A pattern for litert-quantizer's scopes, which are ``output;output;``."""
    return "^(" + "|".join(re.escape(name) for name in sorted(names)) + ");"


def _statistics(low: float, high: float) -> dict[str, Any]:
    """A range for litert-quantizer.

    A tensor that was always zero gets the range 0…1: any would do for what was seen, but a tiny
    step there makes biases, which are counted in steps, run over their 32 bits.
    """
    import numpy as np

    if max(-low, high) < _NOTHING:
        low, high = 0.0, 1.0
    return {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
