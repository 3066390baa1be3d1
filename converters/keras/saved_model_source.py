"""Loads a SavedModel by one of its signatures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from loaded_model import SIGNATURE, TRUST_CURE, LoadedModel, make_specs, unique
from tensorflow.core.protobuf import saved_model_pb2

from edgekit_worker import WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# These reach for files or for Python; no model needs them to answer (TensorFlow SECURITY.md: a
# SavedModel is a program). Checkpoint operations are in every SavedModel and are not listed.
_FOREIGN_OPS = {
    "CacheDataset", "CacheDatasetV2", "CreateSummaryDbWriter", "CreateSummaryFileWriter",
    "DataServiceDataset", "DataServiceDatasetV2", "DebugIdentity", "DebugIdentityV2",
    "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary", "DeleteRecursively", "EagerPyFunc",
    "LoadDataset", "LoadLibrary", "MatchingFiles", "PrintV2", "PyFunc", "PyFuncStateless",
    "ReadFile", "SaveDataset", "SaveDatasetV2", "SnapshotDataset", "SnapshotDatasetV2",
    "WriteFile",
}  # fmt: skip


def load_saved_model(path: Path, name: str | None, *, trusted: bool) -> LoadedModel:
    """The function of that signature; else ``serving_default``, or the only one there is.

    Raises:
        WorkerError: it is damaged or unsafe, or has no such function, or several and none named.
    """
    nodes = list(_read_nodes(path))
    if not trusted and (foreign := sorted({node.op for node in nodes} & _FOREIGN_OPS)):
        cause = f"{path} has operations that reach outside of the model: {', '.join(foreign)}."
        cure = TRUST_CURE + "Otherwise export the model without them."
        raise WorkerError(cause, cure=cure, kind="model")
    try:
        model = tf.saved_model.load(str(path))
    except Exception as error:
        cause = f"TensorFlow {tf.__version__} cannot load {path}: {str(error).splitlines()[0]}"
        raise WorkerError(cause, cure="Export it again: model.export(…)", kind="model") from error
    signature = _signature(path, model, name)
    inputs: dict[str, Any] = signature.structured_input_signature[1]
    outputs: dict[str, Any] = signature.structured_outputs
    # The file keeps both as maps without an order of their own.
    given, names = sorted(inputs, key=_natural), sorted(outputs, key=_natural)

    def call(*tensors: Any) -> list[Any]:
        result = signature(**dict(zip(given, tensors, strict=True)))
        return [result[name] for name in names]

    channels_first = any(
        node.attr["data_format"].s == b"NCHW" for node in nodes if "data_format" in node.attr
    )
    layout = "NCHW" if channels_first else "NHWC"
    return LoadedModel(
        inputs=make_specs(path, given, [inputs[name] for name in given], layout),
        outputs=make_specs(
            path, unique(names, taken=given), [outputs[name] for name in names], layout
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
        cause = f"{path} is not a SavedModel: it has no saved_model.pb."
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


def _signature(path: Path, model: Any, name: str | None) -> Any:
    signatures = getattr(model, "signatures", {})
    if not isinstance(signatures, Mapping):
        cause = f"{path} has something else in the place of its signatures: it is damaged."
        raise WorkerError(cause, cure="Export it again: model.export(…)", kind="model")
    if name is None and SIGNATURE not in signatures and len(signatures) == 1:
        name = next(iter(signatures))
    wanted = name or SIGNATURE
    if wanted not in signatures:
        found = ", ".join(signatures) or "none"
        cause = f"{path} has no signature {wanted!r}; its signatures are: {found}."
        cure = (
            f"Choose one: --signature {next(iter(signatures))}"
            if signatures
            else f"Export it with tf.saved_model.save(…, signatures={{{SIGNATURE!r}: function}})."
        )
        raise WorkerError(cause, cure=cure, kind="usage" if signatures else "model")
    return signatures[wanted]
