"""A `.tflite` on a device, as a runner: what runs here runs there by the same calls."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from edgekit.devices.agent.frames import (
    CHANGING_SHAPE,
    MAX_PAYLOAD,
    BadFrame,
    pack_arrays,
    unpack_arrays,
)
from edgekit.devices.facts import Clock
from edgekit.devices.session import Request, Session
from edgekit.devices.tensors import DeviceTensor, parse_tensors, times
from edgekit.errors import ConversionError, DataError, DeviceError
from edgekit.runners.protocol import Described, Timing
from edgekit.runners.stacks import sample_shapes
from edgekit.types import LatencyReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from edgekit.runners.protocol import Array

_PIECE = 1 << 20
_CHUNK = 2 << 20
"""So many bytes of inputs travel at once, and at least one sample."""
_PIECE_SECONDS = 2.0
"""A piece keeps the device busy for about so long at most: what is lost with it, and what one waits
for after Ctrl-C."""
_LEAST_ANSWER = 64 << 20
_DESCRIPTION = 1 << 16


class DeviceRunner:
    """One model on a device: a `Runner` that is `Timed`.

    It is on the device from the first call on. After a `DeviceLost` the next call connects anew, so
    that whoever keeps what was measured can go on where it stopped.

    Args:
        path: the `.tflite`.
        connect: gives the session with the device, a new one after the old one has died.
        threads: of the runtime.
        plain: with the runtime's plain C kernels and without delegates.
    """

    def __init__(
        self,
        path: Path,
        *,
        connect: Callable[[], Session],
        threads: int = 1,
        plain: bool = False,
    ) -> None:
        self.name = path.stem
        self.path = path
        self.clocks: tuple[Clock, Clock] | None = None
        """The device's clock and heat before and after the last benchmark."""
        self.busy_seconds = 0.0
        """What the device has spent on samples so far, by its own clock."""
        self._done = 0
        self._connect = connect
        self._threads, self._plain = threads, plain
        self._digest = ""
        self._session: Session | None = None
        self._inputs: tuple[DeviceTensor, ...] = ()
        self._outputs: tuple[DeviceTensor, ...] = ()
        self._shapes: tuple[tuple[int, ...], ...] = ()

    def describe(self) -> Described:
        """As `edgekit.runners.protocol.Runner.describe`; quantized tensors are told as float32."""
        facts = self._ready().facts
        runtime = {facts.runtime: facts.runtime_version or ""} if facts.runtime else {}
        threads = f"{self._threads} thread{'s' if self._threads > 1 else ''}"
        return Described(
            inputs=tuple(tensor.real_spec for tensor in self._inputs),
            outputs=tuple(tensor.real_spec for tensor in self._outputs),
            device=f"{facts.words}, {threads}",
            versions={**runtime, **facts.host_version},
        )

    @property
    def output_scales(self) -> tuple[float, ...]:
        """The step of each output's quantization, 0 where it has none. Known once described."""
        return tuple(tensor.scale if tensor.is_quantized else 0.0 for tensor in self._outputs)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """As `edgekit.runners.protocol.Runner.run`.

        Raises:
            ConversionError: the runtime there refuses the model or crashes on it.
            DataError: the stacks do not fit the model.
            DeviceError: the device does not do its part.
        """
        import numpy as np

        pieces = [outputs for _, outputs in self.run_chunks(inputs)]
        return [np.concatenate(column) for column in zip(*pieces, strict=True)]

    def run_chunks(self, inputs: Sequence[Array]) -> Iterator[tuple[slice, list[Array]]]:
        """The same piece by piece: which samples, and their outputs. What came, came.

        Raises:
            ConversionError, DataError, DeviceError: as `run`.
        """
        for piece, stacks in self._stored(inputs, DeviceTensor.store):
            yield piece, self._real(stacks)

    def run_stored(self, inputs: Sequence[Array]) -> Iterator[tuple[slice, list[Array]]]:
        """As `run_chunks`, but all values as the file stores them: quantized ones are integers.

        Outputs have the shape (N, *shape), shape being the file's own.

        Raises:
            ConversionError, DataError, DeviceError: as `run`.
        """
        yield from self._stored(inputs, lambda _, values: values)

    def _stored(
        self, inputs: Sequence[Array], store: Callable[[DeviceTensor, Array], Array]
    ) -> Iterator[tuple[slice, list[Array]]]:
        session = self._ready()
        sample_shapes([tensor.real_spec for tensor in self._inputs], inputs)
        limit = self._answer_limit(self._most_samples())
        waiting: deque[slice] = deque()

        def requests() -> Iterator[Request]:
            for piece in self._slices(len(inputs[0])):
                waiting.append(piece)
                packed = self._packed("run", inputs, piece, session.compress, store)
                yield Request(*packed, limit)

        session.used = True
        for answer in session.stream(requests()):
            piece = waiting.popleft()
            try:
                stacks = unpack_arrays(answer.header, answer.payload, limit)
                self._check(stacks, piece.stop - piece.start)
                self.busy_seconds += times(answer.header, "seconds")
                self._done += piece.stop - piece.start
            except BadFrame as error:
                raise _nonsense(error) from error
            yield piece, stacks

    def benchmark(
        self, inputs: Sequence[Array], *, runs: int = 50, warmup: int = 5, seconds: float = 20
    ) -> Timing:
        """As `edgekit.runners.protocol.Timed.benchmark`, by the device's own clock.

        In an agent that has run nothing else, so that its peak memory is this model's; but in the
        same page, where a person would have to open the next one.

        Raises:
            ConversionError, DataError, DeviceError: as `run`.
        """
        if self._session is not None and self._session.used:
            if self._session.by_hand:
                self._leave()  # loaded anew, so that loading and the first inference are that
            else:
                self._session.close()
        session = self._ready()
        sample_shapes([tensor.real_spec for tensor in self._inputs], inputs)
        session.used = True
        header, payload = self._packed(
            "benchmark", inputs, slice(0, 1), session.compress, DeviceTensor.store
        )
        header |= {"runs": runs, "warmup": warmup, "seconds": seconds}
        answer = session.call(header, payload, limit=_DESCRIPTION).header
        self.clocks = Clock.parse(answer.get("before")), Clock.parse(answer.get("after"))
        peak = answer.get("peak_bytes")
        try:
            samples = answer.get("samples_ms")
            if not isinstance(samples, list) or not 0 < len(samples) <= runs:
                raise BadFrame("no times")
            return Timing(
                latency=LatencyReport(
                    samples_ms=tuple(times({"ms": sample}, "ms") for sample in samples),
                    threads=self._threads,
                    load_ms=times(answer, "load_ms"),
                    first_ms=times(answer, "first_ms"),
                    warmup=warmup,
                ),
                peak_memory_mb=round(peak / 1e6, 1) if type(peak) is int and peak > 0 else None,
            )
        except BadFrame as error:
            raise _nonsense(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._leave()
        self._session = None

    def _leave(self) -> None:
        """Take the model from the device."""
        if self._session is not None and self._session.alive:
            self._session.call({"verb": "drop", "digest": self._digest})
        self._session = None

    def _ready(self) -> Session:
        """The session, with the model there and described."""
        session = self._connect()
        if session is self._session:
            return session
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from error
        self._digest = hashlib.sha256(data).hexdigest()
        begin = {"verb": "begin", "digest": self._digest, "size": len(data)}
        if not session.call(begin).header.get("have"):
            pieces = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
            for _ in session.stream(
                Request({"verb": "piece"}, zlib.compress(piece, 1)) for piece in pieces
            ):
                pass
            session.call({"verb": "finish", "digest": self._digest})
        answer = session.call(self._asked("describe"), limit=_DESCRIPTION).header
        try:
            self._inputs = parse_tensors(answer.get("inputs"))
            self._outputs = parse_tensors(answer.get("outputs"))
        except BadFrame as error:
            raise _nonsense(error) from error
        self._session = session
        return session

    def _asked(self, verb: str) -> dict[str, object]:
        kernels = {"threads": self._threads, "plain": self._plain}
        return {"verb": verb, "digest": self._digest, **kernels}

    def _slices(self, count: int) -> Iterator[slice]:
        """The samples that travel together; few where the device takes long for each."""
        start, most = 0, self._most_samples()
        while start < count:
            pace = self.busy_seconds / self._done if self._done else 0.0
            step = most if not pace else max(1, min(most, int(_PIECE_SECONDS / pace)))
            yield slice(start, min(start + step, count))
            start += step

    def _most_samples(self) -> int:
        import numpy as np

        given = sum(math.prod(t.shape) * np.dtype(t.dtype).itemsize for t in self._inputs)
        step = max(1, _CHUNK // max(1, given))
        taken = sum(math.prod(t.shape) * np.dtype(t.dtype).itemsize for t in self._outputs)
        return max(1, min(step, _LEAST_ANSWER // max(1, taken)))

    def _answer_limit(self, samples: int) -> int:
        """Bytes of the outputs of so many samples, with room for shapes that are open."""
        import numpy as np

        one = sum(math.prod(t.shape) * np.dtype(t.dtype).itemsize for t in self._outputs)
        return min(MAX_PAYLOAD, max(_LEAST_ANSWER, 4 * samples * one))

    def _packed(
        self,
        verb: str,
        inputs: Sequence[Array],
        piece: slice,
        compress: bool,
        store: Callable[[DeviceTensor, Array], Array],
    ) -> tuple[dict[str, object], bytes]:
        stored = [
            store(tensor, stack[piece]) for tensor, stack in zip(self._inputs, inputs, strict=True)
        ]
        arrays, payload = pack_arrays(stored, compress)
        return {**self._asked(verb), "compress": compress, **arrays}, payload

    def _check(self, stacks: Sequence[Array], count: int) -> None:
        """Refuse outputs that are not as the model's were described, or change their shape.

        Raises:
            BadFrame: no agent answers so.
            ConversionError: their shape depends on the inputs.
        """
        if len(stacks) != len(self._outputs):
            raise BadFrame("another number of outputs")
        for tensor, stack in zip(self._outputs, stacks, strict=True):
            if stack.shape[:1] != (count,) or stack.dtype.name != tensor.dtype:
                raise BadFrame("outputs of another number or type")
        shapes = tuple(stack.shape[1:] for stack in stacks)
        if shapes != (self._shapes or shapes):
            raise ConversionError(f"{self.path.name}: {CHANGING_SHAPE}")
        self._shapes = shapes

    def _real(self, stacks: Sequence[Array]) -> list[Array]:
        """Outputs as real values; a batch of one, (N, 1, …) there, is (N, …) here."""
        results = []
        for tensor, stack in zip(self._outputs, stacks, strict=True):
            batched = stack.shape[1:2] == (1,)
            shape = (len(stack), *stack.shape[2:]) if batched else stack.shape
            results.append(tensor.real(stack).reshape(shape))
        return results


def _nonsense(error: BadFrame) -> DeviceError:
    return DeviceError(
        f"The device's answer makes no sense: {error}.",
        cure="Is the address the right one? edgekit device check says what is there.",
    )
