"""Writing the quantized graph with litert-quantizer, given our ranges."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, assert_never

from edgekit.errors import ConversionError
from edgekit.quantize.bias_room import MakeRoom
from edgekit.quantize.grids import (
    DYNAMIC_INT4_OPERATORS,
    WEIGHT_ONLY_INT4_OPERATORS,
    grid_of,
)
from edgekit.quantize.integer_ops.care import Care, TakeCare
from edgekit.quantize.integer_ops.emitted import IntegerResult, MakeInteger
from edgekit.quantize.integer_ops.graphs import (
    TypeUnreadParts,
    make_outputs_float,
    make_outputs_stored,
    make_outputs_unsigned,
    sweep,
)
from edgekit.quantize.integer_ops.masks import MaskWithinRanges
from edgekit.quantize.integer_ops.norms import variance_chains
from edgekit.quantize.integer_ops.operands import ExpandConstants, OwnBuffers, OwnScalars
from edgekit.quantize.integer_ops.padding import PadWithinRanges
from edgekit.quantize.integer_ops.rewrites import IntegerKernels, tied
from edgekit.quantize.kept_scales import KeepSteps
from edgekit.quantize.layers import find_layers
from edgekit.quantize.ranges import stated
from edgekit.quantize.stored import StoreHalves, refuse_misnamed
from edgekit.quantize.versions import RaiseVersions
from edgekit.tflite.flatbuffer import MAX_BYTES, stored_bytes
from edgekit.tflite.layer_names import layer_name
from edgekit.tflite.model import Model, read, read_made, write_bytes
from edgekit.tflite.passes import GraphPass, PassSequence, unwritten
from edgekit.types import CALIBRATED_SCHEMES, INT4_SCHEMES, INT8_SCHEMES, Ranges, Scheme

if TYPE_CHECKING:
    from typing import Any

_REMEMBERED = 64 << 20
"""So many bytes of files are remembered, and always the last one."""
_NOTHING = 1e-6
"""A tensor that never was further from zero than this was never used."""


@dataclass(frozen=True, kw_only=True)
class Exceptions:
    """Operators, named by their first output, that do not compute in 8 bits.

    Attributes:
        floating: left in float.
        sixteen: with 16-bit activations and 8-bit weights.
        only: where given, everything but these is left in float.
    """

    floating: frozenset[str] = frozenset()
    sixteen: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    def hold(self, name: str) -> bool:
        """Whether the operator with this first output does not compute in 8 bits."""
        if self.only is not None:
            return name not in self.only
        return name in self.floating or name in self.sixteen

    def with_whole(self, chains: Iterable[tuple[str, ...]]) -> Exceptions:
        """These, and all of each chain of which an operator is left in float."""
        torn = [chain for chain in chains if self.floating.intersection(chain)]
        return replace(self, floating=self.floating.union(*torn))

    def joined(self, care: Care) -> Exceptions:
        """These, and those that care asks for; float wins over 16 bits."""
        floating = self.floating | care.floating
        return replace(
            self,
            floating=floating,
            sixteen=(self.sixteen | care.sixteen) - floating,
            only=None if self.only is None else self.only - care.floating,
        )


NO_EXCEPTIONS = Exceptions()


def by_tensor(exceptions: Exceptions, model: Model) -> Exceptions:
    """Exceptions that were named by layers (``layer3.0.conv2``) by operators' first outputs."""
    layers: dict[str, set[str]] = {}
    for operator in model.main.operators:
        layers.setdefault(layer_name(operator), set()).add(operator.outputs[0].name)
    outputs = set().union(*layers.values())

    def told(names: frozenset[str]) -> frozenset[str]:
        meant = ({name} if name in outputs else layers.get(name, {name}) for name in names)
        return frozenset().union(*meant)

    return replace(exceptions, floating=told(exceptions.floating), sixteen=told(exceptions.sixteen))


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A quantized file in memory.

    Attributes:
        data: its bytes.
        model: the same to look at.
        result: for the int8 schemes, which operators compute in float and why; else nothing.
    """

    data: bytes
    model: Model
    result: IntegerResult


def emit(
    model: Path,
    output: Path,
    scheme: Scheme,
    ranges: Ranges | None = None,
    exceptions: Exceptions = NO_EXCEPTIONS,
) -> IntegerResult:
    """Quantize a float `.tflite` into ``output``; see `quantized`."""
    made = quantized(read(model), scheme, ranges, exceptions)
    write_bytes(made.data, output)
    return made.result


def quantized(
    model: Model,
    scheme: Scheme,
    ranges: Ranges | None = None,
    exceptions: Exceptions = NO_EXCEPTIONS,
) -> Emitted:
    """Quantize a float model.

    Args:
        model: stays as it is.
        scheme: any but ``fp32``.
        ranges: of every float tensor; needed by the calibrated schemes.
        exceptions: operators that are computed with more than 8 bits.

    Raises:
        ConversionError: litert-quantizer refuses the model.
    """
    calibrated, integer = scheme in CALIBRATED_SCHEMES, scheme in INT8_SCHEMES.values()
    if calibrated and ranges is None:
        raise ValueError(f"{scheme} needs ranges")
    source = model.copy()
    _refuse_what_cannot_be_right(source, scheme)
    care = Care(ranges={**(ranges or {}), **stated(source)})
    kernels = IntegerKernels()
    constants = (
        PadWithinRanges(care.ranges),
        MaskWithinRanges(care.ranges, exceptions.hold),
        ExpandConstants(),
        OwnScalars(),
    )
    passes = [OwnBuffers(), *(constants if calibrated else ()), *([kernels] if integer else ())]
    changed = PassSequence(*passes)(source).changed
    asked = exceptions = exceptions.with_whole(variance_chains(source))
    if integer:
        changed |= TakeCare(exceptions.hold, care)(source).changed
        exceptions = exceptions.joined(care)
    bits = 16 if scheme == "int16x8" or exceptions.sixteen else 8
    changed |= MakeRoom(_usable(care.ranges), bits=bits)(source).changed
    if bits == 16 or changed:
        AllowAnyScale()(source)
    data = _by_litert_quantizer(source, scheme, care.ranges, exceptions)
    written = read_made(data, "litert-quantizer")
    made = MakeInteger(_usable(care.ranges), exceptions.hold, care.reasons)
    finish: list[GraphPass] = [TypeUnreadParts()]
    finish += [made] if integer else []
    finish += [GiveOutputs(scheme)]
    finish += [KeepSteps(source)] if integer else []
    finish += [StoreHalves()] if scheme == "fp16" else []
    touched = PassSequence(*finish)(written).changed
    if asked == NO_EXCEPTIONS and not touched:
        _refuse_untouched(written, scheme)
    refuse_misnamed(written, scheme, excepted=asked != NO_EXCEPTIONS)
    if RaiseVersions()(written).changed or touched:
        data = written.packed()
    made.result.changed[:0] = [*kernels.changes, *care.changed]
    return Emitted(data=data, model=written, result=made.result)


class Emissions:
    """Quantizes models, and remembers what it has made of late.

    litert-quantizer keeps state of its own, so that two threads at once would spoil each other's
    files: one is made after the other.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: list[tuple[Model, Scheme, Ranges, Exceptions, Emitted]] = []

    def __call__(
        self,
        model: Model,
        scheme: Scheme,
        ranges: Ranges,
        exceptions: Exceptions = NO_EXCEPTIONS,
    ) -> Emitted:
        """The same as `quantized`, for models that are not changed any more.

        Raises:
            ConversionError: litert-quantizer refuses the model.
        """
        wanted = (scheme, ranges, exceptions)
        with self._lock:
            for known, *how, emitted in self._made:
                if known is model and tuple(how) == wanted:
                    return emitted
            emitted = quantized(model, *wanted)
            self._made.append((model, scheme, dict(ranges), exceptions, emitted))
            while self._size() > _REMEMBERED and len(self._made) > 1:
                del self._made[0]
            return emitted

    def _size(self) -> int:
        return sum(len(emitted.data) for *_, emitted in self._made)


def _by_litert_quantizer(
    model: Model, scheme: Scheme, ranges: Ranges, exceptions: Exceptions
) -> bytes:
    from litert_quantizer import quantizer

    engine = quantizer.Quantizer(model.packed())
    _set_recipe(engine, model, scheme)
    if exceptions != NO_EXCEPTIONS:
        _set_exceptions(engine, model, scheme, exceptions)
    statistics = None
    if scheme in CALIBRATED_SCHEMES:
        integer = scheme in INT8_SCHEMES.values()
        statistics = _statistics(model, _usable(tied(model, ranges) if integer else ranges))
    try:
        result = engine.quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        )
    except (ValueError, RuntimeError, KeyError, NotImplementedError, IndexError) as error:
        # All of it is litert-quantizer's own code, which refuses a model by any of these.
        raise ConversionError(
            f"litert-quantizer cannot write {scheme}: {str(error).strip().splitlines()[-1][:300]}",
            cure="Leave this scheme out with --scheme; --keep-float takes an operator out of int8.",
        ) from error
    return bytes(result.quantized_model)


@dataclass
class GiveOutputs(GraphPass):
    """Outputs of the type that the scheme states, where litert-quantizer has left another."""

    scheme: Scheme

    def call(self, model: Model) -> int:
        """Whether any output is another tensor now."""
        stored = self.scheme in ("int8", "int8-uint8-io") and make_outputs_stored(model)
        if stored:
            sweep(model)
        if self.scheme == "int8-float-io":
            return make_outputs_float(model)
        return (self.scheme == "int8-uint8-io" and make_outputs_unsigned(model)) or stored


class AllowAnyScale(GraphPass):
    """Tell 16-bit ADD and SUB that scales are not powers of two.

    The schema's default says that they are, litert-quantizer leaves it so, and the runtime then
    refuses the file ("input1_shift <= 0 was not true").
    """

    def call(self, model: Model) -> int:
        """How many there are."""
        found = [one for one in model.main.operators if one.name in ("ADD", "SUB")]
        for operator in found:
            operator.options.potScaleInt16 = False
        return len(found)


def _statistics(model: Model, ranges: Ranges) -> dict[str, Any]:
    """The ranges as litert-quantizer has them: arrays with as many axes as the tensor.

    Constants beside a tensor in a CONCATENATION are refused otherwise.
    """
    import numpy as np

    ranks = {tensor.name: len(tensor.shape) for tensor in model.main.tensors}
    return {
        name: {
            key: np.full((1,) * ranks.get(name, 2), end, np.float32)
            for key, end in zip(("min", "max"), limits, strict=True)
        }
        for name, limits in ranges.items()
    }


def refuse_bad_source(model: Model) -> None:
    """Look at a model before anything is done with it.

    Raises:
        ConversionError: it is too large, it is quantized already, a tensor is never written, or
            weights are NaN or infinite.
    """
    import numpy as np

    if (size := stored_bytes(model.raw)) > MAX_BYTES:
        raise ConversionError(
            f"The file stores {size / 2**30:.1f} GB; edgekit quantizes files of up to 2 GB.",
            cure="Start from a smaller model, or from its parts one by one.",
        )
    if any(t.quantization is not None and t.dtype != "float32" for t in model.main.tensors):
        raise ConversionError(
            "The file is quantized already.", cure="Start from the float file of the model."
        )
    if name := unwritten(model.main):
        raise ConversionError(
            f"The tensor {name} is used, but no operator writes it and it is not an input.",
            cure="The file is damaged or half edited; convert the model again.",
        )
    for layer in find_layers(model):
        for tensor in filter(None, (layer.weights, layer.bias)):
            if not np.isfinite(tensor.data()).all():
                raise ConversionError(
                    f"The weights {tensor.name} of {layer.name} hold NaN or infinite values.",
                    cure="Look at the trained weights: the training has diverged, or the export "
                    "has damaged them.",
                )


def _refuse_untouched(written: Model, scheme: Scheme) -> None:
    """A file in which nothing is quantized but perhaps its ends must not bear a scheme's name."""
    inner = [op for op in written.main.operators if op.name not in ("QUANTIZE", "DEQUANTIZE")]
    if scheme in CALIBRATED_SCHEMES:
        found = any(t and t.quantization is not None for op in inner for t in op.inputs)
    else:
        constants = (t for graph in written.subgraphs for t in graph.tensors if t.is_constant)
        found = any(t.dtype == "float16" or t.quantization is not None for t in constants)
    if not found:
        raise ConversionError(
            f"No operator of this model can be quantized to {scheme}: the file would be the float "
            "model.",
            cure="Use the fp32 file; leave this scheme out with --scheme.",
        )


def _refuse_what_cannot_be_right(model: Model, scheme: Scheme) -> None:
    refuse_bad_source(model)
    if scheme in CALIBRATED_SCHEMES and len(model.subgraphs) > 1:
        raise _inner_graph(model, scheme)


def _inner_graph(model: Model, scheme: Scheme) -> ConversionError:
    """Says which operator computes by a graph of its own."""
    names = [operator.name for operator in model.main.operators]
    if {"IF", "WHILE"} & set(names):
        return ConversionError(
            f"The graph has a loop or a branch (WHILE, IF), which {scheme} cannot cross.",
            cure="Use --scheme dynamic-int8, or unroll the loop in the model.",
        )
    inner = next((name for name in names if name.startswith(("STABLEHLO", "CALL"))), "An operator")
    return ConversionError(
        f"{inner} computes by a graph of its own, which {scheme} cannot cross.",
        cure="Use --scheme dynamic-int8. Pooling is written so where it has three axes or rounds "
        "its size up (ceil_mode): pad before it and pool over two axes, or try another --route.",
    )


def _set_recipe(engine: Any, model: Model, scheme: Scheme) -> None:
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
        case (
            "dynamic-int8"
            | "dynamic-int4"
            | "dynamic-int4-block32"
            | "weight-only-int8"
            | "weight-only-int4"
        ):
            _set_weight_recipe(engine, scheme)
            if scheme == "dynamic-int4-block32":
                _set_blocks(engine, model)
        case "int16x8":
            engine.load_quantization_recipe(recipe.static_wi8_ai16())
            _set_one_scale(engine, ".*", 16)
        case "int8" | "int8-uint8-io" | "int8-float-io":
            engine.load_quantization_recipe(recipe.static_wi8_ai8())
            _set_one_scale(engine, ".*", 8)
            _set_borders(engine, scheme, ".*")
        case "fp32" | "int8-mixed":
            raise ValueError(f"{scheme} is made elsewhere")
        case _:
            assert_never(scheme)


def _set_one_scale(engine: Any, regex: str, bits: int) -> None:
    """Give constants of BATCH_MATMUL one scale: with others its integer kernels write zeros."""
    from litert_quantizer import qtyping

    engine.add_static_config(
        regex,
        qtyping.TFLOperationName.BATCH_MATMUL,
        activation_num_bits=bits,
        weight_num_bits=8,
        weight_granularity=qtyping.QuantGranularity.TENSORWISE,
    )


def _set_weight_recipe(engine: Any, scheme: Scheme) -> None:
    """Integer weights and float activations: 8 bits everywhere, then 4 where there are kernels."""
    from litert_quantizer import qtyping, recipe

    dynamic = scheme.startswith("dynamic")
    base = recipe.dynamic_wi8_afp32 if dynamic else recipe.weight_only_wi8_afp32
    engine.load_quantization_recipe(base())
    if scheme not in INT4_SCHEMES:
        return
    add = engine.add_dynamic_config if dynamic else engine.add_weight_only_config
    for name in DYNAMIC_INT4_OPERATORS if dynamic else WEIGHT_ONLY_INT4_OPERATORS:
        add(".*", qtyping.TFLOperationName(name), 4)


def _set_exceptions(engine: Any, model: Model, scheme: Scheme, exceptions: Exceptions) -> None:
    """Later recipes win, and each is found by a pattern on the names of an operator's outputs."""
    from litert_quantizer import algorithm_manager, qtyping

    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    floating, sixteen = exceptions.floating, exceptions.sixteen
    if scheme == "int8-uint8-io":
        # No kernel turns 16 bits into uint8, so what touches the ends is left in float there.
        floating, sixteen = (
            floating | (sixteen & _at_the_ends(model)),
            sixteen - _at_the_ends(model),
        )
    if exceptions.only is not None:
        floating = frozenset(op.outputs[0].name for op in model.main.operators) - exceptions.only
        sixteen &= exceptions.only
    if floating:
        engine.update_quantization_recipe(
            regex=_any_of(floating),
            operation_name=everything,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
    if sixteen:
        engine.add_static_config(
            regex=_any_of(sixteen),
            operation_name=everything,
            activation_num_bits=16,
            weight_num_bits=8,
        )
        _set_one_scale(engine, _any_of(sixteen), 16)
    # The graph's ends go by the names of their tensors too, and must stay what the scheme says.
    _set_borders(engine, scheme, "^")


def _at_the_ends(model: Model) -> frozenset[str]:
    """The operators, by their first outputs, that read an input of the graph or make an output."""
    graph = model.main
    ends = {tensor.index for tensor in (*graph.inputs, *graph.outputs)}
    return frozenset(
        op.outputs[0].name
        for op in graph.operators
        if ends & {tensor.index for tensor in (*op.inputs, *op.outputs) if tensor is not None}
    )


def _set_borders(engine: Any, scheme: Scheme, regex: str) -> None:
    """Give the graph's inputs and outputs the type that the scheme states."""
    from litert_quantizer import algorithm_manager, qtyping

    bits = 16 if scheme == "int16x8" else 8
    unsigned = scheme == "int8-uint8-io"
    config = qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=bits,
            symmetric=bits == 16,
            dtype=qtyping.TensorDataType.UINT if unsigned else qtyping.TensorDataType.INT,
        ),
        # Borders have no weights; the configuration is only valid with both.
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=8, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE
        ),
        compute_precision=qtyping.ComputePrecision.INTEGER,
        explicit_dequantize=False,
    )
    algorithm = algorithm_manager.AlgorithmName
    key = algorithm.NO_QUANTIZE if scheme == "int8-float-io" else algorithm.MIN_MAX_UNIFORM_QUANT
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        engine.update_quantization_recipe(
            regex=regex,
            operation_name=border,
            op_config=None if scheme == "int8-float-io" else config,
            algorithm_key=key,
        )


def _set_blocks(engine: Any, model: Model) -> None:
    """Blocks for those FULLY_CONNECTED whose rows divide into several of them."""
    from litert_quantizer import qtyping

    names = [
        layer.name
        for layer in find_layers(model)
        if grid_of(layer, "dynamic-int4-block32").block is not None
    ]
    if names:
        engine.add_dynamic_config(
            _any_of(names),
            qtyping.TFLOperationName.FULLY_CONNECTED,
            4,
            qtyping.QuantGranularity.BLOCKWISE_32,
        )


def _any_of(names: Collection[str]) -> str:
    """A pattern for litert-quantizer's scopes, which are ``output;output;``."""
    return "^(" + "|".join(re.escape(name) for name in sorted(names)) + ");"


def _usable(ranges: Ranges) -> Ranges:
    """Ranges for litert-quantizer.

    A tensor that was always zero gets the range 0…1: any would do for what was seen, but a tiny
    step there makes biases, which are counted in steps, run over their 32 bits.
    """
    return {
        name: (0.0, 1.0) if max(-low, high) < _NOTHING else (low, high)
        for name, (low, high) in ranges.items()
    }
