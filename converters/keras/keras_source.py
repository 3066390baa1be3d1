"""Loads a Keras file or a SavedModel, without running code that is hidden in it."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

import keras
from edgekit_worker import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SIGNATURE = "serving_default"
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")

# These reach for files or for Python; no model needs them to answer (TensorFlow SECURITY.md: a
# SavedModel is a program). Checkpoint operations are in every SavedModel and are not listed.
_FOREIGN_OPS = {
    "EagerPyFunc", "LoadDataset", "LoadLibrary", "MatchingFiles", "PrintV2", "PyFunc",
    "PyFuncStateless", "ReadFile", "SaveDataset", "SaveDatasetV2", "WriteFile",
}  # fmt: skip

_EXPORT = (
    "Where the model's Python code is at hand, write a SavedModel, which needs none of it: "
    "model.export('FOLDER'); then convert FOLDER."
)
_TRUST = "If you trust who made the file, add --trust-pickle. "


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An input or output; a dimension is ``None`` where it is dynamic."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    layout: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A loaded model as a function.

    Attributes:
        call: takes one tensor for each of ``inputs``, in their order, and gives one for each of
            ``outputs``; in inference mode.
        owner: whatever owns the variables, so that they live as long as this.
    """

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    call: Callable[..., list[Any]]
    owner: Any


def load(source: dict[str, Any]) -> Model:
    """The model that a request's ``source`` names.

    Raises:
        WorkerError: it is missing, damaged, unsafe, or made of code that is not here.
    """
    path, trusted = Path(source["location"]), bool(source["trust_pickle"])
    if not path.exists():
        raise WorkerError(f"There is no file or folder {path}.", kind="model")
    if source["kind"] == "saved_model":
        if source["weights"]:
            cause = "A SavedModel has its weights inside; it takes no other weights."
            raise WorkerError(cause, cure="Leave out --weights.", kind="usage")
        return _load_saved_model(path, trusted=trusted)
    return _load_keras(path, source["weights"], trusted=trusted)


def _load_keras(path: Path, weights: str | None, *, trusted: bool) -> Model:
    config = _read_config(path)
    if not trusted and any(_is_lambda_code(entry) for entry in _dictionaries(config)):
        # Keras' own safe_mode refuses too; but not in every version for .h5 (CVE-2025-9905).
        cause = f"{path} has a Lambda layer with Python code inside, which loading would run."
        raise WorkerError(cause, cure=_TRUST + _EXPORT, kind="model")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=not trusted)
        if weights:
            model.load_weights(weights)
    except Exception as error:
        cause = _why_not_loaded(path, str(error).strip())
        raise WorkerError(cause, cure=_EXPORT, kind="model") from error
    return _describe_keras(path, model)


def _why_not_loaded(path: Path, message: str) -> str:
    """One sentence from Keras' message, which has the whole configuration before the reason."""
    reason = message.rpartition("Exception encountered: ")[2]
    if missing := re.search(r"(?:Could not locate \w+|Unknown \w+:) '(.+?)'", reason):
        return f"{path} uses {missing[1]}, which is not part of Keras."
    first = (reason or "no message").splitlines()[0][:300]
    return f"Keras {keras.__version__} cannot load {path}: {first}"


def _read_config(path: Path) -> Any:
    """The architecture of a .keras or .h5 file, as plain JSON."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    except KeyError:
        cause = f"{path} holds weights only, no model."
        raise WorkerError(cause, cure="Save the whole model: model.save(…)", kind="model") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        cause = f"{path} is damaged or no Keras file: {error}"
        raise WorkerError(
            cause, cure="Save the model again: model.save(…)", kind="model"
        ) from error


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _dictionaries(entry)


def _is_lambda_code(entry: dict[str, Any]) -> bool:
    return entry.get("class_name") == "__lambda__" or entry.get("function_type") == "lambda"


def _describe_keras(path: Path, model: Any) -> Model:
    """Names, shapes and layouts of a Keras model; the order is that of ``model.inputs``."""
    if not isinstance(model, keras.Sequential) and not hasattr(model, "output_names"):
        cause = f"{path} is a subclassed model: it does not tell its inputs and outputs."
        raise WorkerError(cause, cure=_EXPORT, kind="model")
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        inputs = outputs = None
    if not inputs or not outputs:
        cause = f"{path} was saved before it knew its input shape."
        cure = "Begin it with keras.Input(shape=…), or call it on an example, and save it again."
        raise WorkerError(cause, cure=cure, kind="model")
    sequential = isinstance(model, keras.Sequential)
    structure = inputs[0] if sequential else model.input

    def call(*tensors: Any) -> list[Any]:
        packed = keras.tree.pack_sequence_as(structure, tensors)
        return list(keras.tree.flatten(model(packed, training=False)))

    names = _output_names(model, sequential=sequential)
    layout = _keras_layout(model)
    given = _unique([tensor.name for tensor in inputs])
    return Model(
        inputs=_specs(path, given, inputs, layout),
        outputs=_specs(path, _unique(names, taken=given), outputs, layout),
        call=call,
        owner=model,
    )


def _output_names(model: Any, *, sequential: bool) -> list[str]:
    if sequential:
        return [model.layers[-1].name]
    if isinstance(model.output, dict):
        return [str(path[0]) for path, _ in keras.tree.flatten_with_path(model.output)]
    return list(model.output_names)


def _keras_layout(model: Any) -> str:
    formats = {getattr(layer, "data_format", None) for layer in _layers(model)}
    if not formats & {"channels_first", "channels_last"}:
        formats = {keras.config.image_data_format()}
    return "NCHW" if "channels_first" in formats else "NHWC"


def _layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _load_saved_model(path: Path, *, trusted: bool) -> Model:
    nodes = list(_read_nodes(path))
    if not trusted and (foreign := sorted({node.op for node in nodes} & _FOREIGN_OPS)):
        cause = f"{path} has operations that reach outside of the model: {', '.join(foreign)}."
        cure = _TRUST + "Otherwise export the model without them."
        raise WorkerError(cause, cure=cure, kind="model")
    try:
        model = tf.saved_model.load(str(path))
    except Exception as error:
        cause = f"TensorFlow {tf.__version__} cannot load {path}: {str(error).splitlines()[0]}"
        raise WorkerError(cause, cure="Export it again: model.export(…)", kind="model") from error
    signature = _signature(path, model)
    inputs: dict[str, Any] = signature.structured_input_signature[1]
    outputs: dict[str, Any] = signature.structured_outputs
    # The file keeps both as maps without an order of their own.
    given, names = sorted(inputs, key=_natural), sorted(outputs, key=_natural)

    def call(*tensors: Any) -> list[Any]:
        result = signature(**dict(zip(given, tensors, strict=True)))
        return [result[name] for name in names]

    channels_first = any(node.attr["data_format"].s == b"NCHW" for node in nodes if node.attr)
    layout = "NCHW" if channels_first else "NHWC"
    return Model(
        inputs=_specs(path, given, [inputs[name] for name in given], layout),
        outputs=_specs(
            path, _unique(names, taken=given), [outputs[name] for name in names], layout
        ),
        call=call,
        owner=model,
    )


def _natural(name: str) -> list[tuple[str, int]]:
    """A sort key that puts ``output_2`` before ``output_10``."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _read_nodes(path: Path) -> Iterator[Any]:
    """Every operation of a SavedModel, read without running any."""
    file = path / "saved_model.pb"
    if not file.is_file():
        cause = f"{path} is no SavedModel: it has no saved_model.pb."
        raise WorkerError(cause, cure="Name the folder that has it inside.", kind="model")
    content = saved_model_pb2.SavedModel()
    try:
        content.ParseFromString(file.read_bytes())
    except DecodeError as error:
        cause = f"{file} is damaged: {error}"
        raise WorkerError(cause, cure="Export it again: model.export(…)", kind="model") from error
    for graph in content.meta_graphs:
        yield from graph.graph_def.node
        for function in graph.graph_def.library.function:
            yield from function.node_def


def _signature(path: Path, model: Any) -> Any:
    signatures = getattr(model, "signatures", {})
    if SIGNATURE not in signatures:
        found = ", ".join(signatures) or "none"
        cause = f"{path} has no signature {SIGNATURE!r}; its signatures are: {found}."
        cure = f"Export it with tf.saved_model.save(…, signatures={{{SIGNATURE!r}: function}})."
        raise WorkerError(cause, cure=cure, kind="model")
    return signatures[SIGNATURE]


def _specs(
    path: Path, names: Iterable[str], tensors: Iterable[Any], layout: str
) -> tuple[Spec, ...]:
    """`Spec`s of Keras or TensorFlow tensors; 4-D float tensors are taken for pictures."""
    specs = []
    for name, tensor in zip(names, tensors, strict=True):
        dtype = tf.as_dtype(tensor.dtype).name
        if dtype not in DTYPES:
            cause = f"{name} of {path} has the type {dtype}, which edgekit does not handle."
            cure = f"Move that part out of the model; it can have {', '.join(DTYPES)}."
            raise WorkerError(cause, cure=cure, kind="model")
        if tensor.shape is None or tf.TensorShape(tensor.shape).rank is None:
            cause = f"{name} of {path} has an unknown number of dimensions."
            raise WorkerError(cause, cure="Export it with a fixed input shape.", kind="model")
        shape = tuple(tf.TensorShape(tensor.shape).as_list())
        picture = len(shape) == 4 and dtype.startswith("float")
        specs.append(Spec(name=name, shape=shape, dtype=dtype, layout=layout if picture else None))
    return tuple(specs)


def _unique(names: list[str], *, taken: Iterable[str] = ()) -> list[str]:
    """The same names, with ``_1``, ``_2`` … appended where one would repeat."""
    used, result = set(taken), []
    for name in names:
        candidate, count = name, 0
        while candidate in used:
            count += 1
            candidate = f"{name}_{count}"
        used.add(candidate)
        result.append(candidate)
    return result
