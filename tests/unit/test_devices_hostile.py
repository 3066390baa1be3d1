"""Whatever a device answers, the host ends in an `EdgekitError` or in figures, never in a crash."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices.agent.frames import BadFrame, decode_header, pack_arrays
from edgekit.devices.benchmark_model import parse_benchmark
from edgekit.devices.check import _findings
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.pipe import Chatter, Silent, captured
from edgekit.devices.runner import DeviceRunner
from edgekit.devices.session import DeviceReply, Request
from edgekit.errors import ConversionError, DeviceError, EdgekitError

HUGE = 10**400
"""JSON takes it, a float does not."""
STRANGE = (
    *(None, True, -1, 0, 1.5, HUGE, -HUGE, 2**63, "x", "\x1b[", [], {}, [1], [[]], [HUGE]),
    *(float("inf"), float("nan"), 1e308),
)
TENSOR = {"name": "x", "shape": [1, 4], "dtype": "int8", "scale": 0.5, "zero_point": -3}
CLOCK = {"mhz": 1.0, "max_mhz": 1.0, "governor": "fast", "celsius": 1.0}
IMAGES = [np.zeros((6, 4), np.float32)]


class Hostile:
    """A session whose answers to a verb have some entries replaced."""

    compress = used = by_hand = False
    alive = True

    def __init__(self, **replaced: dict[str, Any]) -> None:
        self.replaced = replaced
        self.facts = DeviceFacts.parse({})
        self.data: list[bytes] = []

    def call(self, header: dict[str, Any], _: bytes = b"", *, limit: int = 0) -> DeviceReply:
        answers = {
            "describe": {"inputs": [TENSOR], "outputs": [TENSOR]},
            "benchmark": {"samples_ms": [1.0], "load_ms": 1.0, "first_ms": 1.0, "peak_bytes": 9},
        }
        return self._answer(header["verb"], answers.get(header["verb"], {}))

    def stream(self, requests: Iterable[Request]) -> Iterator[DeviceReply]:
        for request in requests:
            if request.header["verb"] != "run":
                yield DeviceReply({}, b"")
                continue
            samples = request.header["arrays"][0]["shape"][0]
            header, data = pack_arrays([np.zeros((samples, 1, 4), np.int8)], compress=False)
            yield self._answer("run", {**header, "seconds": 0.1}, data)

    def _answer(self, verb: str, header: dict[str, Any], data: bytes = b"") -> DeviceReply:
        whole = {**header, **self.replaced.get(verb, {})}
        try:
            told = decode_header(json.dumps(whole).encode())  # as it comes over the line
        except BadFrame as error:
            raise DeviceError(str(error)) from error
        return DeviceReply(told, self.data.pop(0) if self.data else data)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"content does not matter")
    return path


def outcome(model: Path, session: Hostile) -> None:
    """Use a device in every way; errors of edgekit's own are fine."""
    for use in (DeviceRunner.describe, lambda one: one.run(IMAGES)):
        with suppress(EdgekitError):
            use(DeviceRunner(model, connect=lambda: session))
    with suppress(EdgekitError):
        timing = DeviceRunner(model, connect=lambda: session).benchmark(IMAGES)
        json.dumps(asdict(timing), allow_nan=False)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("value", STRANGE, ids=lambda value: str(value)[:9])
def test_strange_values_anywhere(model, value):
    for side in ("inputs", "outputs"):
        outcome(model, Hostile(describe={side: value}))
        for key in TENSOR:
            outcome(model, Hostile(describe={side: [{**TENSOR, key: value}]}))
    for key in ("samples_ms", "load_ms", "first_ms", "peak_bytes", "before", "after"):
        outcome(model, Hostile(benchmark={key: value}))
    for key in CLOCK:
        outcome(model, Hostile(benchmark={"before": {**CLOCK, key: value}}))
    for key in ("arrays", "zlib", "seconds"):
        outcome(model, Hostile(run={key: value}))


def test_the_honest_answer_is_taken(model):
    """What the strange ones are made of is itself in order."""
    assert DeviceRunner(model, connect=Hostile).run(IMAGES)[0].shape == (6, 4)
    timing = DeviceRunner(model, connect=Hostile).benchmark(IMAGES)
    assert timing.latency.samples_ms == (1.0,)


@pytest.mark.parametrize("shape", [[], [5], [7, 4], [1, 6, 4]])
def test_outputs_of_another_number_of_samples(model, shape):
    session = Hostile(run={"arrays": [{"dtype": "int8", "shape": shape}]})
    session.data = [bytes(int(np.prod(shape)))]
    with pytest.raises(DeviceError, match="makes no sense"):
        DeviceRunner(model, connect=lambda: session).run(IMAGES)


def test_outputs_whose_shape_changes_are_the_models_failure(model):
    """Another candidate can go on."""
    session = Hostile()
    runner = DeviceRunner(model, connect=lambda: session)
    runner.run(IMAGES)
    session.replaced = {"run": {"arrays": [{"dtype": "int8", "shape": [6, 1, 5]}]}}
    session.data = [bytes(30)]
    with pytest.raises(ConversionError, match="change their shape"):
        runner.run(IMAGES)


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: str(value)[:9])
def test_strange_facts(value):
    honest = {"machine": "m", "cores": 1, "memory_bytes": 1, "free_bytes": 1, "clock": CLOCK}
    strange = [{**honest, key: value} for key in DeviceFacts.__dataclass_fields__]
    strange += [{**honest, "clock": {**CLOCK, key: value}} for key in CLOCK]
    for header in strange:
        try:
            facts = DeviceFacts.parse(decode_header(json.dumps(header).encode()))
        except BadFrame:
            continue
        rows = list(_findings(facts, facts.words))
        json.dumps([row.value for row in rows], allow_nan=False)
        assert not any("\x1b" in row.words for row in rows)


WORDS = (
    *("count=5", " avg=", " curr=", " std=1", " min=1", " max=", "7\n"),
    *("1.2.3", "..", "9" * 5000),
)
TIMES = "Inference timings in us: Init: 1, First inference: "


@given(st.lists(st.sampled_from((*WORDS, TIMES, "Replacing ", " (MB): init=")), max_size=12))
def test_whatever_a_native_runner_prints(words):
    timing = parse_benchmark(f"{TIMES}2,\n{''.join(words)}")
    if timing is not None:
        json.dumps(asdict(timing), allow_nan=False)


def started(code: str) -> subprocess.Popen[bytes]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], **pipes)


def test_what_a_program_writes_is_bounded_in_time_and_in_memory():
    with started("import sys; print('a' * 9); print('b', file=sys.stderr)") as process:
        assert captured(process, seconds=20, limit=10) == (b"a" * 9 + b"\n", b"b\n")
    with started("while True: print('x' * 1000)") as process:
        with pytest.raises(Chatter):
            captured(process, seconds=20, limit=1_000_000)
        process.kill()
    with started("import time; time.sleep(60)") as process:
        with pytest.raises(Silent):
            captured(process, seconds=0.2, limit=10)
        process.kill()
