"""Chunks on a device: what came is kept, what is left is asked, what fails is an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConversionError, DeviceLost
from edgekit.measure.job import CandidateJob, Feed
from edgekit.pipeline.validation.device_answers import Answer, answer_path, read_answer
from edgekit.pipeline.validation.on_device import Chunks, Stopped, lost


class Fake:
    """A device that doubles its input, sample by sample, until something happens."""

    name = "fake"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.ends: dict[int, Exception] = {}

    def runner(self, _path: Path) -> Fake:
        return self

    def run_chunks(self, inputs: list[np.ndarray]) -> Iterator[tuple[slice, list[np.ndarray]]]:
        for number, value in enumerate(inputs[0]):
            self.asked.append(int(value[0]))
            if end := self.ends.pop(int(value[0]), None):
                raise end
            yield slice(number, number + 1), [2 * value[None]]


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def chunks(fake, tmp_path) -> Chunks:
    feed = Feed(source=0, permutation=[0, 1], shape=[1, 1])
    jobs = [CandidateJob(path=f"{name}.tflite", feeds=[feed], outputs=[]) for name in "ab"]
    return Chunks(fake, jobs, tmp_path / "device")


@pytest.fixture
def stack(tmp_path) -> Path:
    path = tmp_path / "input.npy"
    np.save(path, np.arange(6, dtype=np.float32)[:, None])
    return path


def outputs(chunks: Chunks, number: int) -> list[float]:
    answer = read_answer(answer_path(chunks.folder, "key", number))
    return answer.outputs[0][:, 0].tolist() if answer.outputs else []


def test_every_candidate_answers(chunks, stack):
    chunks.answer("key", [stack], dropped={})
    assert outputs(chunks, 0) == outputs(chunks, 1) == [0, 2, 4, 6, 8, 10]
    assert chunks.kept() == 6
    chunks.forget("key")
    assert chunks.kept() == 0


def test_after_a_loss_only_the_rest_is_asked(chunks, stack, fake):
    fake.ends[4] = DeviceLost("gone")
    with pytest.raises(DeviceLost):
        chunks.answer("key", [stack], dropped={})
    assert outputs(chunks, 0) == [0, 2, 4, 6]
    assert chunks.kept() == 0  # of the second candidate nothing is there
    fake.asked.clear()
    with pytest.raises(Stopped):
        chunks.answer("other", [stack], dropped={})  # others that wait do not try it again
    assert not fake.asked
    resumed = Chunks(fake, chunks._jobs, chunks.folder)
    resumed.answer("key", [stack], dropped={})
    assert fake.asked == [4, 5, 0, 1, 2, 3, 4, 5]
    assert outputs(chunks, 0) == outputs(chunks, 1) == [0, 2, 4, 6, 8, 10]


def test_a_refusal_is_an_answer_and_the_other_goes_on(chunks, stack, fake):
    fake.ends[2] = ConversionError("no such operator")
    chunks.answer("key", [stack], dropped={})
    first = read_answer(answer_path(chunks.folder, "key", 0))
    assert first.failed == "On fake: no such operator"
    assert first.is_whole(6)
    assert outputs(chunks, 1) == [0, 2, 4, 6, 8, 10]


def test_who_was_dropped_is_not_run(chunks, stack, fake):
    chunks.answer("key", [stack], dropped={0: "crashed before"})
    assert fake.asked == [0, 1, 2, 3, 4, 5]
    assert read_answer(answer_path(chunks.folder, "key", 0)).failed == "crashed before"


def test_stop_ends_after_the_piece_that_is_waited_for(chunks, stack, fake):
    class Stopping(Fake):
        def run_chunks(self, inputs):
            for piece in Fake.run_chunks(fake, inputs):
                chunks.stop()
                yield piece

    chunks._target = Stopping()
    with pytest.raises(Stopped):
        chunks.answer("key", [stack], dropped={})
    assert outputs(chunks, 0) == [0]
    with pytest.raises(Stopped):
        chunks.answer("other", [stack], dropped={})
    chunks.answer("key", [stack], dropped={}, last=True)  # what is said of the worst samples
    assert outputs(chunks, 1) == [0, 2, 4, 6, 8, 10]


def test_a_damaged_answer_is_as_if_there_was_none(tmp_path):
    path = tmp_path / "x.rows"
    Answer(outputs=[np.ones((2, 3))]).write(path)
    path.write_bytes(path.read_bytes()[:-5])
    assert read_answer(path).samples == 0


def test_a_loss_says_what_is_kept():
    error = lost(DeviceLost("It vanished.", cure="Check the cable."), 1200, 5000)
    assert error.cause == "It vanished. 1,200 of 5,000 samples are done, and kept."
    assert error.cure.startswith("Check the cable. The same command with --resume")
    assert error.exit_code == 7
