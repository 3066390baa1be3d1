"""From a frozen TensorFlow function to ONNX and to TFLite, keeping names and order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from loaded_model import SIGNATURE, LoadedModel, Spec
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgekit_worker import WorkerError

if TYPE_CHECKING:
    from pathlib import Path

OPSET = 17  # tf2onnx 1.17 writes up to 18; 17 is what it has been tested with longest

_REPLACE = "Replace the layer that uses it by one made of standard operations."
_TFLITE_TYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    9: "int8",
}


def trace(model: LoadedModel, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """The model as a TensorFlow function of static shapes, one shape for each input in order.

    Raises:
        WorkerError: the model does not accept these shapes.
    """
    signature = [
        tf.TensorSpec(shape, spec.dtype, name=f"input_{index}")
        for index, (shape, spec) in enumerate(zip(shapes, model.inputs, strict=True))
    ]

    @tf.function(input_signature=signature, autograph=False)
    def function(*tensors: Any) -> list[Any]:
        # Without the identity an input that is returned as it is would be no output of its own.
        return [tf.identity(tensor) for tensor in model.call(*tensors)]

    try:
        return function.get_concrete_function()
    except Exception as error:
        given = ", ".join(str(shape) for shape in shapes)
        cause = f"The model cannot be run on the shapes {given}: {str(error).splitlines()[0]}"
        raise WorkerError(cause, cure="See --input.", kind="model") from error


def freeze(function: Any) -> Any:
    """The same function with its variables as constants.

    Frozen first, TensorFlow's converter folds batch normalisation and writes FULLY_CONNECTED; from
    a function with variables it writes READ_VARIABLE and BATCH_MATMUL instead (TensorFlow 2.21).
    """
    return convert_variables_to_constants_v2(function, lower_control_flow=False)


def to_onnx(
    frozen: Any, model: LoadedModel, output: Path
) -> tuple[list[Spec], list[Spec], dict[str, Any]]:
    """Write ``output`` with the model's own names; gives its inputs, outputs and the options."""
    import onnx
    import tf2onnx
    from onnx_shapes import fold_shapes

    inputs = [tensor.name for tensor in frozen.inputs]
    outputs = [tensor.name for tensor in frozen.outputs]
    names = dict(zip(inputs + outputs, _names(model.inputs + model.outputs), strict=True))
    proto, _ = tf2onnx.convert.from_graph_def(
        _inlinable(frozen.graph.as_graph_def()),
        input_names=inputs,
        output_names=outputs,
        opset=OPSET,
        tensors_to_rename=names,
        custom_op_handlers={"Erfc": (_write_erfc, [])},
    )
    # tf2onnx leaves what it does not know in the graph, under TensorFlow's name.
    unknown = sorted(
        {n.op_type for n in proto.graph.node if not onnx.defs.has(n.op_type, n.domain)}
    )
    if unknown:
        raise WorkerError(f"ONNX has no operation for {', '.join(unknown)}.", cure=_REPLACE)
    proto = fold_shapes(proto)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise WorkerError(f"tf2onnx wrote a wrong ONNX file: {error}") from error
    _write(output, proto.SerializeToString())
    written = [_onnx_spec(value, model.inputs) for value in proto.graph.input]
    results = [_onnx_spec(value, model.outputs) for value in proto.graph.output]
    return written, results, {"opset": OPSET, "tf2onnx": tf2onnx.__version__}


def _inlinable(graph: Any) -> Any:
    """Let functions that ask for XLA be inlined: Keras asks for it in grouped convolutions."""
    functions = [node for function in graph.library.function for node in function.node_def]
    for entry in [*graph.node, *functions, *graph.library.function]:
        entry.attr.pop("_XlaMustCompile", None)
        entry.attr.pop("_noinline", None)
    return graph


def _write_erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """1 − Erf(x), which tf2onnx does not know: Keras' exact GELU is written with it."""
    import onnx

    dtype = context.get_dtype(node.output[0])
    shape = context.get_shape(node.output[0])
    one = context.make_const(
        f"{name}_one", np.ones((), onnx.helper.tensor_dtype_to_np_dtype(dtype))
    )
    inputs, outputs = node.input[:], node.output[:]
    context.remove_node(node.name)
    erf = context.make_node("Erf", inputs, shapes=[shape], dtypes=[dtype])
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=outputs, shapes=[shape], dtypes=[dtype]
    )


def _onnx_spec(value: Any, specs: tuple[Spec, ...]) -> Spec:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return Spec(name=value.name, shape=shape, dtype=dtype, layout=_layout(value.name, specs))


def to_tflite(
    frozen: Any, model: LoadedModel, output: Path
) -> tuple[list[Spec], list[Spec], dict[str, Any]]:
    """Write ``output`` with the model's own names; gives its inputs, outputs and the options.

    Raises:
        WorkerError: an operation has no builtin TFLite counterpart.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    except Exception as error:
        raise WorkerError(_why_no_tflite(str(error)), cure=_REPLACE) from error
    file = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = file.subgraphs[0]
    _name_tensors(file, model)
    _write(output, bytes(flatbuffer_utils.convert_object_to_bytearray(file)))
    inputs = [_tflite_spec(graph, *pair) for pair in zip(graph.inputs, model.inputs, strict=True)]
    outputs = [
        _tflite_spec(graph, *pair) for pair in zip(graph.outputs, model.outputs, strict=True)
    ]
    return inputs, outputs, {"supported_ops": "TFLITE_BUILTINS", "frozen": True}


def _why_no_tflite(message: str) -> str:
    """One sentence from the converter's pages of text."""
    if found := re.findall(r"(?:TF Select|Custom) ops: (.*)", message):
        return f"TFLite has no builtin operation for {'; '.join(found)}."
    errors = re.findall(r"error: (.*)", message) or message.strip().splitlines()
    return f"TensorFlow's converter failed: {errors[0][:300] if errors else 'no message'}"


def _name_tensors(file: Any, model: LoadedModel) -> None:
    """Give the file the model's names, and a signature of them as the usual export has."""
    from tensorflow.lite.python import schema_py_generated as schema

    graph = file.subgraphs[0]
    signature = schema.SignatureDefT(signatureKey=SIGNATURE, inputs=[], outputs=[])
    # Outputs first: where an input is an output as well, the one tensor keeps the input's name.
    for indices, specs, entries in (
        (graph.outputs, model.outputs, signature.outputs),
        (graph.inputs, model.inputs, signature.inputs),
    ):
        for index, spec in zip(indices, specs, strict=True):
            graph.tensors[index].name = spec.name
            entries.append(schema.TensorMapT(name=spec.name, tensorIndex=int(index)))
    file.signatureDefs = [signature]


def _tflite_spec(graph: Any, index: int, spec: Spec) -> Spec:
    tensor = graph.tensors[index]
    name = tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name
    shape = tuple(int(dimension) for dimension in tensor.shape) if tensor.shape is not None else ()
    return Spec(name=name, shape=shape, dtype=_TFLITE_TYPES[tensor.type], layout=spec.layout)


def _names(specs: tuple[Spec, ...]) -> list[str]:
    return [spec.name for spec in specs]


def _layout(name: str, specs: tuple[Spec, ...]) -> str | None:
    return next((spec.layout for spec in specs if spec.name == name), None)


def _write(output: Path, content: bytes) -> None:
    part = output.with_name(output.name + ".part")
    part.write_bytes(content)
    part.replace(output)
