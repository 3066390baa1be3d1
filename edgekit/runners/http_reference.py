"""A model behind HTTP as the reference. Only the URL that the user gave is ever asked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from edgekit.errors import ModelError, UsageError
from edgekit.runners import http_tf_serving, http_v2
from edgekit.runners.http_client import HttpClient, UnknownPath
from edgekit.runners.protocol import Described, Timing
from edgekit.runners.stacks import reals, sample_shapes, samples_of, stacked
from edgekit.types import LatencyReport, TensorSpec

if TYPE_CHECKING:
    from types import TracebackType

    from edgekit.runners.protocol import Array


class HttpReference:
    """A runner that sends each sample to a server.

    Args:
        url: ``http://HOST:PORT/v2/models/NAME`` (Open Inference Protocol) or
            ``http://HOST:PORT/v1/models/NAME:predict`` (TensorFlow Serving).
        timeout: seconds that one answer may take.
        inputs: what the user stated, for a server that does not tell.

    Raises:
        UsageError: the URL is neither.
    """

    def __init__(
        self, url: str, *, timeout: float = 60.0, inputs: tuple[TensorSpec, ...] = ()
    ) -> None:
        self.url = url
        self._client = HttpClient(url, timeout=timeout)
        self._model = _model(self._client, url)
        self.name = self._model.name
        self._stated = inputs
        self._described: Described | None = None

    def describe(self) -> Described:
        """What the server tells; where it tells no outputs, zeros are sent once to see them.

        Raises:
            SetupError: the server cannot be reached.
            ModelError: it has no such model, or one that edgekit cannot feed.
            UsageError: it does not tell the inputs, and they were not stated.
        """
        if self._described is None:
            inputs, outputs, versions = self._told()
            inputs = inputs or self._stated
            if not inputs:
                raise UsageError(
                    f"The server {self._client.host} does not tell the inputs of {self.name}.",
                    cure="Add for example --input image:1x3x224x224",
                )
            outputs = outputs or self._learn_outputs(inputs)
            self._described = Described(
                inputs=inputs,
                outputs=outputs,
                device=f"server {self._client.host}; times include the network",
                versions=versions,
            )
        return self._described

    def _told(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[str, str]]:
        """The server's description; nothing where it has none (TorchServe) and inputs are stated.

        A model that is not there is told when it is asked for outputs.
        """
        try:
            return self._model.describe()
        except UnknownPath:
            if not self._stated:
                raise
            return (), (), {}

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """As `edgekit.runners.protocol.Runner.run`: a request per sample."""
        specs = sample_shapes(self.describe().inputs, inputs)
        samples = zip(
            *(samples_of(spec, stack) for spec, stack in zip(specs, inputs, strict=True)),
            strict=True,
        )
        answers = [self._ask(specs, sample) for sample in samples]
        result = []
        for spec in self.describe().outputs:
            values = [answer[spec.name] for answer in answers]
            if len({value.shape for value in values}) != 1:
                raise ModelError(
                    f"Output {spec.name} has another shape for another sample.",
                    cure="A .tflite file needs outputs of one shape: leave that step to the app.",
                )
            result.append(reals(stacked(values)))
        return result

    def benchmark(
        self, inputs: Sequence[Array], *, runs: int = 50, warmup: int = 5, seconds: float = 20
    ) -> Timing:
        """Time requests with the first sample: network, encoding and the server's queue included.

        What happens inside the server is not known: ``load_ms`` and ``threads`` are 0.
        """
        specs = sample_shapes(self.describe().inputs, inputs)
        sample = [samples_of(s, stack[:1])[0] for s, stack in zip(specs, inputs, strict=True)]

        def once() -> float:
            started = time.perf_counter()
            self._ask(specs, sample)
            return 1e3 * (time.perf_counter() - started)

        first_ms = once()
        for _ in range(warmup):
            once()
        deadline = time.perf_counter() + seconds
        samples: list[float] = []
        while len(samples) < runs and (len(samples) < 5 or time.perf_counter() < deadline):
            samples.append(once())
        return Timing(
            latency=LatencyReport(
                samples_ms=tuple(samples), threads=0, load_ms=0.0, first_ms=first_ms, warmup=warmup
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def _ask(self, specs: Sequence[TensorSpec], sample: Sequence[Array]) -> dict[str, Array]:
        import numpy as np

        typed = [
            np.ascontiguousarray(value, np.dtype(spec.dtype)).reshape(value.shape)
            for spec, value in zip(specs, sample, strict=True)
        ]
        answer = self._model.infer(specs, typed)
        if self._described is None:
            return answer
        return {spec.name: self._fit(spec, answer) for spec in self._described.outputs}

    def _fit(self, spec: TensorSpec, answer: Mapping[str, Array]) -> Array:
        """An output with the axes that the server describes; some answer with more of size 1."""
        if spec.name not in answer:
            raise self._client.refuse(
                f"answers without the output {spec.name}; there are {', '.join(answer)}."
            )
        value = answer[spec.name]
        same_axes = value.ndim == len(spec.shape)
        given = value.shape if same_axes else [size for size in value.shape if size != 1]
        wanted = spec.shape if same_axes else [size for size in spec.shape if size not in (1, None)]
        if len(given) != len(wanted) or any(
            size not in (None, one) for size, one in zip(wanted, given, strict=True)
        ):
            raise self._client.refuse(
                f"answers with {spec.name} of shape {value.shape}; it describes {spec.shape}.",
                cure="Correct the shapes in the model's settings on the server.",
            )
        return value if same_axes else value.reshape([size or 1 for size in spec.shape])

    def _learn_outputs(self, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        import numpy as np

        zeros = [np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in inputs]
        answer = self._ask(inputs, zeros)
        return tuple(
            TensorSpec(name=name, shape=tuple(value.shape), dtype=value.dtype.name)
            for name, value in answer.items()
        )


def is_url(location: str) -> bool:
    """Whether a reference's location means a server."""
    return location.startswith(("http://", "https://"))


def _model(client: HttpClient, url: str) -> http_v2.V2Model | http_tf_serving.TfServingModel:
    if http_v2.PATH.fullmatch(client.parts.path):
        return http_v2.V2Model(client)
    if http_tf_serving.PATH.fullmatch(client.parts.path):
        return http_tf_serving.TfServingModel(client)
    raise UsageError(
        f"{url} is the URL of no protocol that edgekit speaks.",
        cure="Open Inference Protocol: http://HOST:PORT/v2/models/NAME. TensorFlow Serving: "
        "http://HOST:PORT/v1/models/NAME:predict",
    )
