"""Loads a .keras or .h5 file, without running code that is hidden in it."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np
from hdf5_check import check_weights
from keras_quantized import as_float, float_calls, quantized_layers
from loaded_model import EXPORT_CURE, TRUST_CURE, LoadedModel, make_specs, unique

from edgekit_worker import WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_keras(
    path: Path, weights: str | None, *, trusted: bool, make_float: bool = False
) -> LoadedModel:
    """The model in ``path``, with other ``weights`` where they are given.

    With ``make_float`` it is the float form of what Keras has quantized.

    Raises:
        WorkerError: it is damaged, unsafe, or made of code that is not here.
    """
    for file in (path, *([Path(weights)] if weights else [])):
        check_weights(file)
    config = _read_config(path)
    if not trusted and any(_is_lambda_code(entry) for entry in _dictionaries(config)):
        # Keras' own safe_mode refuses too; but not in every version for .h5 (CVE-2025-9905).
        cause = f"{path} has a Lambda layer with Python code inside, which loading would run."
        raise WorkerError(cause, cure=TRUST_CURE + EXPORT_CURE, kind="model")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=not trusted)
        if weights:
            model.load_weights(weights)
    except Exception as error:
        cause = _why_not_loaded(path, str(error).strip())
        raise WorkerError(cause, cure=EXPORT_CURE, kind="model") from error
    return describe_keras(path, model, make_float=make_float)


def first_layers(model: Any) -> list[tuple[str, dict[str, Any]]]:
    """Classes of a Keras model's first layers, with what they do to the values of pictures."""
    return [
        (
            type(layer).__name__,
            {
                name: np.ravel(getattr(layer, name)).tolist()
                for name in ("scale", "offset", "mean", "variance")
                if getattr(layer, name, None) is not None
            }
            if type(layer).__name__ in ("Rescaling", "Normalization")
            else {},
        )
        for layer in list(getattr(model, "layers", ()))[:5]
    ]


def load_weights(model: Any, path: Path) -> None:
    """Load the weights of a file into a model.

    Raises:
        WorkerError: they are damaged, unsafe, or of another model.
    """
    check_weights(path)
    try:
        model.load_weights(path)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WorkerError(
            f"The weights {path} do not fit the model: {first}",
            cure="Use weights of this very architecture, saved by model.save_weights(…).",
            kind="model",
        ) from error


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
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
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


def describe_keras(path: Path, model: Any, *, make_float: bool) -> LoadedModel:
    """Names, shapes and layouts of a Keras model; the order is that of ``model.inputs``."""
    if not isinstance(model, keras.Sequential) and not hasattr(model, "output_names"):
        cause = f"{path} is a subclassed model: it does not tell its inputs and outputs."
        raise WorkerError(cause, cure=EXPORT_CURE, kind="model")
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        inputs = outputs = None
    if not inputs or not outputs:
        cause = f"{path} was saved before it knew its input shape."
        cure = "Begin it with keras.Input(shape=…), or call it on an example, and save it again."
        raise WorkerError(cause, cure=cure, kind="model")
    options = _compute_in_float32(model)
    sequential = isinstance(model, keras.Sequential)
    structure = inputs[0] if sequential else model.input

    quantized = quantized_layers(model) if make_float else {}
    calls = float_calls(model) if quantized else ()

    def call(*tensors: Any) -> list[Any]:
        with as_float(calls):
            return itself(*tensors)

    def itself(*tensors: Any) -> list[Any]:
        packed = keras.tree.pack_sequence_as(structure, tensors)
        return list(keras.tree.flatten(model(packed, training=False)))

    names = _output_names(model, sequential=sequential)
    layout = _keras_layout(model)
    given = unique([tensor.name for tensor in inputs])
    return LoadedModel(
        inputs=make_specs(path, given, inputs, layout),
        outputs=make_specs(
            path, unique(names, taken=given), outputs, layout, float32=bool(options)
        ),
        call=call,
        owner=model,
        options=options,
        quantized=quantized,
        itself=itself if quantized else None,
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


def _layers(model: Any) -> list[Any]:
    """Every layer, also those inside of others (attention, Bidirectional, cells …)."""
    return list(model._flatten_layers(include_self=False))  # noqa: SLF001  no public way


def _compute_in_float32(model: Any) -> dict[str, Any]:
    """Undo mixed precision: TFLite's float operations have no 16-bit form on a CPU.

    The weights are float32 in such a model, so nothing is lost. Gives the options to report.
    """
    options = {}
    for layer in _layers(model):
        policy = layer.dtype_policy
        if policy.compute_dtype in {"float16", "bfloat16"} and policy.variable_dtype == "float32":
            options = {"compute_dtype": f"float32 instead of {policy.name}"}
            layer.dtype_policy = "float32"
    return options
