"""The Open Inference Protocol, version 2, over REST (KServe, Triton, TorchServe, MLServer).

Written to the protocol's specification, "Open Inference Protocol (V2 Inference Protocol)", and its
extension "Binary Tensor Data", which is used where the server says that it has it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import EdgekitError, UsageError
from edgekit.runners.http_client import HttpClient, to_json
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array

PATH = re.compile(r"(?P<root>.*)/v2/models/(?P<name>[^/]+)(/versions/[^/]+)?(/infer)?/?")
_TYPES = {
    "BOOL": "bool",
    **{
        f"{sign}INT{bits}": f"{sign.lower()}int{bits}"
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_BINARY = "binary_tensor_data"
_HEADER = "Inference-Header-Content-Length"


class V2Model:
    """One model of a server.

    Args:
        client: for the URL ``http://HOST:PORT/v2/models/NAME``, perhaps with a version.

    Raises:
        UsageError: the URL's path is no such path.
    """

    def __init__(self, client: HttpClient) -> None:
        match = PATH.fullmatch(client.parts.path)
        if match is None:
            raise UsageError(f"{client.parts.path} is not a path of a model: /v2/models/NAME")
        self.name = match["name"]
        self._client = client
        self._root = match["root"]
        self._path = client.parts.path.rstrip("/").removesuffix("/infer")
        self._binary = False

    def describe(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[str, str]]:
        """Inputs, outputs (either may be empty: a server need not tell) and versions."""
        table = self._client.json(self._path)
        if not isinstance(table, dict):
            raise self._client.refuse(f"answers {self._path} with no description of a model.")
        server = self._server()
        extensions = server.get("extensions")
        self._binary = isinstance(extensions, list) and _BINARY in extensions
        versions = {
            str(server.get("name") or "server"): str(server.get("version") or ""),
            "platform": str(table.get("platform") or ""),
        }
        return (
            self._specs(table.get("inputs")),
            self._specs(table.get("outputs")),
            {name: version for name, version in versions.items() if version},
        )

    def infer(self, specs: Sequence[TensorSpec], sample: Sequence[Array]) -> dict[str, Array]:
        """The outputs of one sample by name.

        Raises:
            ModelError, SetupError: see `HttpClient.exchange`.
        """
        request, tail = self._request(specs, sample)
        head = to_json(request)
        headers = {"Content-Type": "application/json"}
        if tail:
            headers = {"Content-Type": "application/octet-stream", _HEADER: str(len(head))}
        answer, content = self._client.exchange(f"{self._path}/infer", head + tail, headers)
        length = answer.get(_HEADER)
        split = len(content) if length is None else self._length(length, len(content))
        table = self._client.parse(content[:split])
        outputs = table.get("outputs") if isinstance(table, dict) else None
        if not isinstance(outputs, list) or not outputs:
            raise self._client.refuse("answers without outputs.")
        result: dict[str, Array] = {}
        for entry in outputs:
            name, value, split = self._tensor(entry, content, split)
            result[name] = value
        return result

    def _request(
        self, specs: Sequence[TensorSpec], sample: Sequence[Array]
    ) -> tuple[dict[str, Any], bytes]:
        """The JSON part, and what follows it where tensors are sent in binary."""
        inputs, tail = [], b""
        for spec, value in zip(specs, sample, strict=True):
            entry: dict[str, Any] = {
                "name": spec.name,
                "shape": list(value.shape),
                "datatype": _NAMES[spec.dtype],
            }
            if self._binary:
                content = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
                entry["parameters"] = {"binary_data_size": len(content)}
                tail += content
            else:
                entry["data"] = value.ravel().tolist()
            inputs.append(entry)
        extra = {"parameters": {"binary_data_output": True}} if self._binary else {}
        return {"inputs": inputs, **extra}, tail

    def _tensor(self, entry: Any, content: bytes, start: int) -> tuple[str, Array, int]:
        """One output's name and values, and where the next binary one starts."""
        import numpy as np

        try:
            name, dtype = str(entry["name"]), np.dtype(_TYPES[entry["datatype"]])
            shape = tuple(int(size) for size in entry["shape"])
            size = (entry.get("parameters") or {}).get("binary_data_size")
            if size is None:
                # null stands for NaN where a server writes strict JSON; NumPy reads it so.
                value: Array = np.array(entry["data"], dtype).reshape(shape)
                return name, value, start
            part = content[start : start + size]
            if size != math.prod(shape) * dtype.itemsize or len(part) != size:
                raise ValueError(f"{size} bytes are not {shape} of {dtype}")
            value = np.frombuffer(part, dtype.newbyteorder("<")).reshape(shape)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise self._client.refuse(
                f"answers with an output that is not a tensor: {error}."
            ) from error
        return name, value, start + size

    def _length(self, text: str, most: int) -> int:
        if not text.isdecimal() or int(text) > most:
            raise self._client.refuse(f"states {_HEADER}: {text[:20]} of {most} bytes.")
        return int(text)

    def _server(self) -> Mapping[str, Any]:
        """The server's own description, empty where it has none."""
        try:
            table = self._client.json(f"{self._root}/v2")
        except EdgekitError:
            return {}
        return table if isinstance(table, dict) else {}

    def _specs(self, tables: Any) -> tuple[TensorSpec, ...]:
        try:
            return tuple(
                TensorSpec(
                    name=str(table["name"]),
                    shape=tuple(int(size) if int(size) > 0 else None for size in table["shape"]),
                    dtype=_TYPES[table["datatype"]],
                )
                for table in tables or ()
            )
        except KeyError as error:
            why = f"a tensor with {error}" if error.args[0] in ("name", "shape", "datatype") else ""
            raise self._client.refuse(
                f"describes {why or f'a tensor of the type {error}'}, which edgekit cannot handle.",
                cure=f"It can have {', '.join(_TYPES)}.",
            ) from error
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise self._client.refuse(
                f"describes its tensors as nothing known: {error}."
            ) from error
