"""TensorFlow Serving's REST API: the metadata and predict endpoints, tensors in columns.

Written to "RESTful API" of TensorFlow Serving's documentation: ``POST …/v1/models/NAME:predict``
with ``{"signature_name": …, "inputs": {name: tensor}}`` gives ``{"outputs": …}``, a tensor where
the signature has one output and otherwise tensors by name. ``NaN`` and ``Infinity`` are written
as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.runners.http_client import HttpClient
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array

PATH = re.compile(r".*/v1/models/(?P<name>[^/:]+)(/(versions|labels)/[^/:]+)?(:predict)?/?")
_DEFAULT = "serving_default"
_TYPES = {
    "DT_FLOAT": "float32",
    "DT_HALF": "float16",
    "DT_DOUBLE": "float64",
    "DT_BOOL": "bool",
    **{
        f"DT_{sign}INT{bits}": f"{sign.lower()}int{bits}"
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
}


class TfServingModel:
    """One model of a server, by its signature ``serving_default`` or the only one it has.

    Args:
        client: for the URL ``http://HOST:PORT/v1/models/NAME:predict``, perhaps with a version.

    Raises:
        UsageError: the URL's path is no such path.
    """

    def __init__(self, client: HttpClient) -> None:
        match = PATH.fullmatch(client.parts.path)
        if match is None:
            raise UsageError(
                f"{client.parts.path} is not a path of a model: /v1/models/NAME:predict"
            )
        self.name = match["name"]
        self._client = client
        self._path = client.parts.path.rstrip("/").removesuffix(":predict")
        self._signature = _DEFAULT
        self._outputs: tuple[TensorSpec, ...] = ()

    def describe(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[str, str]]:
        """Inputs, outputs and versions, as the metadata endpoint tells them."""
        table = self._client.json(f"{self._path}/metadata")
        try:
            signatures = table["metadata"]["signature_def"]["signature_def"]
            signature = self._choose(signatures)
            inputs = self._specs(signature["inputs"])
            self._outputs = self._specs(signature["outputs"])
            version = str(table.get("model_spec", {}).get("version", ""))
        except (KeyError, TypeError, AttributeError) as error:
            raise self._client.refuse(
                f"answers {self._path}/metadata with no description of a model: {error!r}."
            ) from error
        return inputs, self._outputs, {"model version": version} if version else {}

    def infer(self, specs: Sequence[TensorSpec], sample: Sequence[Array]) -> dict[str, Array]:
        """The outputs of one sample by name.

        Raises:
            ModelError, SetupError: see `HttpClient.exchange`.
        """
        import numpy as np

        body = {
            "signature_name": self._signature,
            "inputs": {
                spec.name: value.tolist() for spec, value in zip(specs, sample, strict=True)
            },
        }
        table = self._client.json(f"{self._path}:predict", body)
        try:
            outputs = table["outputs"]
            if not (isinstance(outputs, dict) and len(self._outputs) > 1):
                outputs = {self._outputs[0].name: outputs}
            return {
                spec.name: np.array(outputs[spec.name], np.dtype(spec.dtype))
                for spec in self._outputs
            }
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise self._client.refuse(
                f"answers with outputs that are not tensors: {error!r}."
            ) from error

    def _choose(self, signatures: Mapping[str, Any]) -> Mapping[str, Any]:
        usable = {name: one for name, one in signatures.items() if not name.startswith("__")}
        if _DEFAULT not in usable and len(usable) != 1:
            raise UsageError(
                f"The model {self.name} has the signatures {', '.join(sorted(usable))}, none of "
                f"them {_DEFAULT}.",
                cure=f"Export the one to compare as {_DEFAULT}.",
            )
        self._signature = _DEFAULT if _DEFAULT in usable else next(iter(usable))
        signature: Mapping[str, Any] = usable[self._signature]
        return signature

    def _specs(self, tables: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Tensors in the order of their names: the JSON of a map has none of its own."""
        specs = []
        for name, table in sorted(tables.items()):
            if table["dtype"] not in _TYPES:
                raise self._client.refuse(
                    f"describes {name} with the type {table['dtype']}, which cannot be handled.",
                    cure=f"It can have {', '.join(_TYPES)}.",
                )
            shape = table["tensor_shape"]
            if shape.get("unknown_rank"):
                raise self._client.refuse(
                    f"does not know how many dimensions {name} has.",
                    cure="Export the model with a signature of fixed shapes.",
                )
            sizes = [int(one["size"]) for one in shape.get("dim", [])]
            specs.append(
                TensorSpec(
                    name=name,
                    shape=tuple(size if size > 0 else None for size in sizes),
                    dtype=_TYPES[table["dtype"]],
                )
            )
        return tuple(specs)
