"""Single operators in many forms, side by side in one graph: what Vela asks of each.

Each has an input and an output of its own, so that one compilation answers for all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tflite_builder import empty_model

from edgekit.tflite.graph import Tensor
from edgekit.tflite.model import Model

Shape = tuple[int, ...]
_SAME, _VALID = 0, 1


@dataclass(frozen=True, kw_only=True)
class OperatorCase:
    """One operator: its name is its output's."""

    name: str
    kind: str
    shape: Shape
    result: Shape
    dtype: str = "int8"
    result_dtype: str = ""
    options: Any = None
    constants: tuple[np.ndarray, ...] = ()
    fed: tuple[Shape, ...] = ()
    scale: float = 0.1
    first_constant: bool = False
    constant_scales: int = 1
    constant_dtype: str = ""
    bias: bool = field(default=False)


def graph_of(cases: list[OperatorCase]) -> Model:
    """All cases in one graph."""
    model = empty_model()
    graph = model.main

    def computed(name: str, shape: Shape, dtype: str, scale: float) -> Tensor:
        tensor = graph.add_tensor(name, shape, dtype)
        tensor.raw.quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[0])
        return tensor

    inputs, outputs = [], []
    for case in cases:
        source = computed(f"{case.name}_in", case.shape, case.dtype, 0.1)
        more = [
            computed(f"{case.name}_in{place}", shape, case.dtype, 0.1)
            for place, shape in enumerate(case.fed)
        ]
        inputs += [source.index, *(one.index for one in more)]
        constants = []
        for place, values in enumerate(case.constants):
            dtype = case.constant_dtype or str(values.dtype)
            tensor = graph.add_tensor(f"{case.name}_c{place}", values.shape, dtype, values)
            if values.ndim > 1 or dtype == "int8":
                count = case.constant_scales
                tensor.raw.quantization = schema.QuantizationParametersT(
                    scale=[0.1] * count, zeroPoint=[0] * count
                )
            constants.append(tensor)
        if case.bias:
            tensor = graph.add_tensor(
                f"{case.name}_b", (case.result[-1],), "int32", np.zeros(case.result[-1], np.int32)
            )
            count = case.constant_scales
            tensor.raw.quantization = schema.QuantizationParametersT(
                scale=[0.01] * count, zeroPoint=[0] * count
            )
            constants.append(tensor)
        result = computed(case.name, case.result, case.result_dtype or case.dtype, case.scale)
        read = [source, *more, *constants]
        if case.first_constant:  # SPLIT has its axis, TRANSPOSE_CONV its shape first
            read = [*constants[:-1], source] if case.bias else [*constants, source]
            read += constants[-1:] if case.bias else []
        graph.insert_operator(len(graph.operators), case.kind, read, [result], options=case.options)
        outputs.append(result.index)
    graph.raw.inputs, graph.raw.outputs = inputs, outputs
    return model


def left(target: str) -> set[str]:
    """The names of the cases that Vela 5.2.0 leaves to the CPU, as it was asked."""
    told = json.loads(Path(__file__).with_name("vela_left.json").read_text(encoding="utf-8"))
    return set(told[target])


def cases() -> list[OperatorCase]:
    """All of them."""
    found = []
    for maker in (
        _convolutions,
        _pools,
        _resizes,
        _transposed,
        _slices,
        _reductions,
        _elementwise,
        _orders,
        _pads,
        _joined,
        _others,
        _other_types,
    ):
        found += list(maker())
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    return found


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def _convolutions() -> Iterator[OperatorCase]:
    for stride in (1, 2, 3, 4):
        for padding in (_SAME, _VALID):
            side = 16
            left = -(-side // stride) if padding == _SAME else -(-(side - 2) // stride)
            for kind, options, kernel in (
                ("CONV_2D", schema.Conv2DOptionsT, (8, 3, 3, 4)),
                ("DEPTHWISE_CONV_2D", schema.DepthwiseConv2DOptionsT, (1, 3, 3, 4)),
            ):
                told = options(padding=padding, strideW=stride, strideH=stride)
                told.dilationWFactor = told.dilationHFactor = 1
                if kind[0] == "D":
                    told.depthMultiplier = 1
                channels = kernel[0] if kind[0] == "C" else 4
                yield OperatorCase(
                    name=f"{kind.lower()}_s{stride}_p{padding}",
                    kind=kind,
                    shape=(1, side, side, 4),
                    result=(1, left, left, channels),
                    options=told,
                    constants=(np.ones(kernel, np.int8),),
                    constant_scales=channels,
                    bias=True,
                )
    for kernel, dilation in ((65, 1), (3, 2)):
        told = schema.Conv2DOptionsT(padding=_SAME, strideW=1, strideH=1)
        told.dilationWFactor = told.dilationHFactor = dilation
        yield OperatorCase(
            name=f"conv_2d_k{kernel}_d{dilation}",
            kind="CONV_2D",
            shape=(1, 70, 70, 1),
            result=(1, 70, 70, 1),
            options=told,
            constants=(np.ones((1, kernel, kernel, 1), np.int8),),
            bias=True,
        )
    yield OperatorCase(
        name="dense_dynamic",
        kind="FULLY_CONNECTED",
        shape=(2, 8),
        fed=((4, 8),),
        result=(2, 4),
        options=schema.FullyConnectedOptionsT(),
    )
    yield OperatorCase(
        name="dense_batch",
        kind="FULLY_CONNECTED",
        shape=(5, 8),
        constants=(np.ones((4, 8), np.int8),),
        result=(5, 4),
        options=schema.FullyConnectedOptionsT(),
    )


def _pools() -> Iterator[OperatorCase]:
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for kernel, stride, padding in (
            (2, 2, _VALID),
            (8, 1, _SAME),
            (9, 1, _SAME),
            (9, 1, _VALID),
            (3, 4, _VALID),
            (3, 4, _SAME),
            (20, 1, _VALID),
        ):
            side = 24
            left = -(-side // stride) if padding == _SAME else -(-(side - kernel + 1) // stride)
            yield OperatorCase(
                name=f"{kind.lower()}_k{kernel}_s{stride}_p{padding}",
                kind=kind,
                shape=(1, side, side, 4),
                result=(1, left, left, 4),
                options=schema.Pool2DOptionsT(
                    padding=padding,
                    strideW=stride,
                    strideH=stride,
                    filterWidth=kernel,
                    filterHeight=kernel,
                ),
            )


def _resizes() -> Iterator[OperatorCase]:
    for height, width, to in (
        (4, 4, (8, 8)),
        (4, 4, (16, 16)),
        (4, 4, (12, 12)),
        (4, 4, (32, 32)),
        (4, 4, (64, 64)),
        (4, 4, (8, 16)),
        (4, 4, (7, 7)),
        (4, 4, (4, 4)),
        (4, 4, (2, 2)),
        (1, 1, (5, 7)),
        (4, 1, (8, 1)),
        (3, 3, (5, 5)),
    ):
        for kind, options in (
            ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
            ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
        ):
            for mode in ("plain", "half", "corners"):
                told = options(alignCorners=mode == "corners", halfPixelCenters=mode == "half")
                sizes = f"{height}x{width}_{to[0]}x{to[1]}"
                yield OperatorCase(
                    name=f"{kind.lower()}_{sizes}_{mode}",
                    kind=kind,
                    shape=(1, height, width, 3),
                    result=(1, *to, 3),
                    options=told,
                    constants=(_ints(*to),),
                )


def _transposed() -> Iterator[OperatorCase]:
    for kernel, stride, padding, out in (
        (2, 2, _SAME, 8),
        (3, 2, _SAME, 8),
        (4, 2, _SAME, 8),
        (3, 1, _SAME, 4),
        (3, 3, _SAME, 12),
        (3, 2, _VALID, 9),
        (2, 2, _VALID, 8),
        (3, 2, _SAME, 7),
        (4, 4, _VALID, 16),
        (1, 2, _VALID, 8),
    ):
        yield OperatorCase(
            name=f"transpose_conv_k{kernel}_s{stride}_p{padding}_{out}",
            kind="TRANSPOSE_CONV",
            shape=(1, 4, 4, 3),
            result=(1, out, out, 2),
            options=schema.TransposeConvOptionsT(padding=padding, strideW=stride, strideH=stride),
            constants=(_ints(1, out, out, 2), np.ones((2, kernel, kernel, 3), np.int8)),
            bias=True,
            first_constant=True,
        )


def _slices() -> Iterator[OperatorCase]:
    for name, begin, end, strides, result in (
        ("plain", (0, 1, 1, 0), (1, 5, 5, 4), (1, 1, 1, 1), (1, 4, 4, 4)),
        ("width2", (0, 0, 0, 0), (1, 8, 8, 4), (1, 1, 2, 1), (1, 8, 4, 4)),
        ("height2", (0, 0, 0, 0), (1, 8, 8, 4), (1, 2, 1, 1), (1, 4, 8, 4)),
        ("both2", (0, 0, 0, 0), (1, 8, 8, 4), (1, 2, 2, 1), (1, 4, 4, 4)),
        ("height3", (0, 0, 0, 0), (1, 8, 8, 4), (1, 3, 1, 1), (1, 3, 8, 4)),
        ("width4", (0, 0, 0, 0), (1, 8, 8, 4), (1, 1, 4, 1), (1, 8, 2, 4)),
        ("depth2", (0, 0, 0, 0), (1, 8, 8, 4), (1, 1, 1, 2), (1, 8, 8, 2)),
        ("backwards", (0, 7, 0, 0), (1, -9, 8, 4), (1, -1, 1, 1), (1, 8, 8, 4)),
    ):
        yield OperatorCase(
            name=f"strided_slice_{name}",
            kind="STRIDED_SLICE",
            shape=(1, 8, 8, 4),
            result=result,
            options=schema.StridedSliceOptionsT(
                beginMask=0, endMask=0, ellipsisMask=0, newAxisMask=0, shrinkAxisMask=0
            ),
            constants=(_ints(*begin), _ints(*end), _ints(*strides)),
        )
    yield OperatorCase(
        name="strided_slice_shrink",
        kind="STRIDED_SLICE",
        shape=(1, 8, 8, 4),
        result=(8, 8, 4),
        options=schema.StridedSliceOptionsT(
            beginMask=0, endMask=0, ellipsisMask=0, newAxisMask=0, shrinkAxisMask=1
        ),
        constants=(_ints(0, 0, 0, 0), _ints(1, 8, 8, 4), _ints(1, 1, 1, 1)),
    )
    yield OperatorCase(
        name="slice",
        kind="SLICE",
        shape=(1, 8, 8, 4),
        result=(1, 4, 4, 4),
        options=schema.SliceOptionsT(),
        constants=(_ints(0, 0, 0, 0), _ints(1, 4, 4, 4)),
    )
    for axis, length in ((0, 1), (1, 8), (2, 8), (3, 6)):
        result = tuple(2 if place == axis else size for place, size in enumerate((1, 8, 8, 6)))
        yield OperatorCase(
            name=f"gather_axis{axis}",
            kind="GATHER",
            shape=(1, 8, 8, 6),
            result=result,
            options=schema.GatherOptionsT(axis=axis, batchDims=0),
            constants=(_ints(0, length - 1),),
        )


def _reductions() -> Iterator[OperatorCase]:
    for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        for shape, axes in (
            ((1, 7, 7, 16), (1, 2)),
            ((1, 7, 7, 16), (3,)),
            ((1, 7, 7, 16), (1,)),
            ((1, 16, 7, 7), (2, 3)),
            ((2, 7, 7, 16), (1, 2)),
            ((1, 49, 16), (2,)),
            ((1, 49, 16), (1,)),
            ((1, 1, 49, 16), (3,)),
            ((4, 16), (1,)),
            ((1, 64, 80, 4), (1, 2)),
        ):
            result = tuple(1 if place in axes else size for place, size in enumerate(shape))
            sizes = "x".join(map(str, shape))
            yield OperatorCase(
                name=f"{kind.lower()}_{sizes}_over{''.join(map(str, axes))}",
                kind=kind,
                shape=shape,
                result=result,
                options=schema.ReducerOptionsT(keepDims=True),
                constants=(_ints(*axes),),
            )
    for shape, axis in (((1, 4, 4, 10), 3), ((1, 4, 4, 10), 1), ((1, 4, 4, 200), 3), ((1, 10), 1)):
        sizes = "x".join(map(str, shape))
        yield OperatorCase(
            name=f"arg_max_{sizes}_over{axis}",
            kind="ARG_MAX",
            shape=shape,
            result=shape[:axis] + shape[axis + 1 :],
            result_dtype="int32",
            options=schema.ArgMaxOptionsT(outputType=2),
            constants=(_ints(axis),),
        )
    for shape in ((1, 10), (1, 4, 16, 16), (1, 300, 300, 4)):
        sizes = "x".join(map(str, shape))
        yield OperatorCase(
            name=f"softmax_{sizes}",
            kind="SOFTMAX",
            shape=shape,
            result=shape,
            options=schema.SoftmaxOptionsT(beta=1.0),
            scale=1 / 256,
        )


def _elementwise() -> Iterator[OperatorCase]:
    make = OperatorCase
    shape = (1, 8, 8, 4)
    for kind in ("MAXIMUM", "MINIMUM"):
        for scale in (0.1, 0.2):
            yield make(
                name=f"{kind.lower()}_{scale}",
                kind=kind,
                shape=shape,
                fed=(shape,),
                result=shape,
                options=schema.MaximumMinimumOptionsT(),
                scale=scale,
            )
    for kind in ("RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "TANH", "ELU", "GELU", "ABS", "NEG"):
        yield make(name=kind.lower(), kind=kind, shape=shape, result=shape)
    for kind in ("RSQRT", "SQRT", "EXP", "LOG", "FLOOR", "SQUARE", "COS", "LEAKY_RELU", "CEIL"):
        yield make(name=kind.lower(), kind=kind, shape=shape, result=shape)
    for kind in ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "FLOOR_MOD", "POW"):
        yield make(name=kind.lower(), kind=kind, shape=shape, fed=(shape,), result=shape)
        yield make(
            name=f"{kind.lower()}_broadcast",
            kind=kind,
            shape=shape,
            fed=((1, 1, 1, 4),),
            result=shape,
        )


def _orders() -> Iterator[OperatorCase]:
    make = OperatorCase
    for permutation in ((0, 2, 1, 3), (0, 3, 1, 2), (0, 2, 3, 1), (0, 1, 3, 2), (3, 2, 1, 0)):
        for dtype in ("int8", "int32"):
            yield make(
                name=f"transpose_{''.join(map(str, permutation))}_{dtype}",
                kind="TRANSPOSE",
                shape=(1, 8, 6, 4),
                dtype=dtype,
                result=tuple((1, 8, 6, 4)[place] for place in permutation),
                options=schema.TransposeOptionsT(),
                constants=(_ints(*permutation),),
            )
    yield make(
        name="transpose_five",
        kind="TRANSPOSE",
        shape=(1, 2, 3, 4, 5),
        result=(1, 3, 2, 5, 4),
        options=schema.TransposeOptionsT(),
        constants=(_ints(0, 2, 1, 4, 3),),
    )


def _pads() -> Iterator[OperatorCase]:
    make = OperatorCase
    shape = (1, 8, 8, 4)
    for name, pads in (
        ("plain", ((0, 0), (1, 1), (1, 1), (0, 0))),
        ("depth", ((0, 0), (0, 0), (0, 0), (1, 1))),
        ("batch", ((1, 0), (0, 0), (0, 0), (0, 0))),
    ):
        result = tuple(sum(pad) + size for pad, size in zip(pads, shape, strict=True))
        constant = np.array(pads, np.int32)
        yield make(
            name=f"pad_{name}",
            kind="PAD",
            shape=shape,
            result=result,
            options=schema.PadOptionsT(),
            constants=(constant,),
        )
        yield make(
            name=f"mirror_pad_{name}",
            kind="MIRROR_PAD",
            shape=(2, 8, 8, 4),
            result=(result[0] + 1, *result[1:]),
            options=schema.MirrorPadOptionsT(mode=0),
            constants=(constant,),
        )


def _joined() -> Iterator[OperatorCase]:
    make = OperatorCase
    shape = (1, 8, 8, 4)
    for axis in (1, 2, 3):
        yield make(
            name=f"concatenation_{axis}",
            kind="CONCATENATION",
            shape=shape,
            fed=(shape,),
            result=tuple(2 * size if place == axis else size for place, size in enumerate(shape)),
            options=schema.ConcatenationOptionsT(axis=axis),
        )
        yield make(
            name=f"reverse_{axis}",
            kind="REVERSE_V2",
            shape=shape,
            result=shape,
            options=schema.ReverseV2OptionsT(),
            constants=(_ints(axis),),
        )


def _others() -> Iterator[OperatorCase]:
    make = OperatorCase
    shape = (1, 8, 8, 4)
    for kind, options in (("SPACE_TO_DEPTH", "blockSize"), ("DEPTH_TO_SPACE", "blockSize")):
        told = getattr(
            schema, "SpaceToDepthOptionsT" if kind[0] == "S" else "DepthToSpaceOptionsT"
        )()
        setattr(told, options, 2)
        yield make(
            name=kind.lower(),
            kind=kind,
            shape=shape,
            result=(1, 4, 4, 16) if kind[0] == "S" else (1, 16, 16, 1),
            options=told,
        )
    yield make(
        name="batch_matmul",
        kind="BATCH_MATMUL",
        shape=(1, 4, 8, 6),
        fed=((1, 4, 6, 5),),
        result=(1, 4, 8, 5),
        options=schema.BatchMatMulOptionsT(adjX=False, adjY=False),
    )
    yield make(
        name="tile",
        kind="TILE",
        shape=shape,
        result=(1, 16, 8, 4),
        constants=(_ints(1, 2, 1, 1),),
    )
    for wanted in ("uint8", "int16", "int32"):
        yield make(
            name=f"quantize_{wanted}",
            kind="QUANTIZE",
            shape=shape,
            result=shape,
            result_dtype=wanted,
            scale=0.2,
        )
    yield make(
        name="reshape",
        kind="RESHAPE",
        shape=shape,
        result=(1, 256),
        options=schema.ReshapeOptionsT(newShape=[1, 256]),
        constants=(_ints(1, 256),),
    )
    yield make(name="cast", kind="CAST", shape=shape, result=shape, result_dtype="int32", scale=0.1)


def _other_types() -> Iterator[OperatorCase]:
    make = OperatorCase
    shape = (1, 8, 8, 4)
    for dtype in ("uint8", "int16"):
        for kind in ("RELU", "RELU6", "LOGISTIC", "TANH", "ABS"):
            yield make(
                name=f"{kind.lower()}_{dtype}", kind=kind, shape=shape, result=shape, dtype=dtype
            )
        yield make(
            name=f"softmax_{dtype}",
            kind="SOFTMAX",
            shape=(1, 10),
            result=(1, 10),
            dtype=dtype,
            options=schema.SoftmaxOptionsT(beta=1.0),
            scale=1 / 256,
        )
        yield make(
            name=f"mean_{dtype}",
            kind="MEAN",
            shape=(1, 7, 7, 16),
            result=(1, 1, 1, 16),
            dtype=dtype,
            options=schema.ReducerOptionsT(keepDims=True),
            constants=(_ints(1, 2),),
        )
        yield make(
            name=f"resize_{dtype}",
            kind="RESIZE_BILINEAR",
            shape=shape,
            result=(1, 16, 16, 4),
            dtype=dtype,
            options=schema.ResizeBilinearOptionsT(),
            constants=(_ints(16, 16),),
        )
        yield make(
            name=f"batch_matmul_{dtype}",
            kind="BATCH_MATMUL",
            shape=(1, 4, 8, 6),
            fed=((1, 4, 6, 5),),
            result=(1, 4, 8, 5),
            dtype=dtype,
            options=schema.BatchMatMulOptionsT(adjX=False, adjY=False),
        )
