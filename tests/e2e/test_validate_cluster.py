"""A validation whose chunks are jobs: rows and verdicts are those of one process."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import validate_nets as nets

import edgekit
from edgekit.errors import DataError, UsageError
from edgekit.jobs.local import LocalExecutor
from edgekit.pipeline.validation.store import RunStore

pytestmark = pytest.mark.e2e
CLASSES = ("ant", "bee", "cat", "dog", "elk")


class Jobs(LocalExecutor):
    """Two machines of one core each."""

    def __init__(self, address: str) -> None:
        super().__init__(cores=2)
        self.started = 0
        _made.append(self)

    def within(self, folder: Path) -> Jobs:
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        return self

    def fits(self, resources) -> bool:
        return resources.cores <= 1 and super().fits(resources)

    def start(self, job, inputs) -> None:
        super().start(job, inputs)
        self.started += 1


_made: list[Jobs] = []


@pytest.fixture
def rows(monkeypatch) -> list[dict[str, bytes]]:
    """The rows of each complete run, before they go."""
    kept = []
    remove = RunStore.remove

    def keep(store: RunStore) -> None:
        kept.append({one.name: one.read_bytes() for one in store.folder.glob("chunk-*.rows")})
        remove(store)

    monkeypatch.setattr(RunStore, "remove", keep)
    monkeypatch.setattr("edgekit.pipeline.validation.on_cluster.RayExecutor", Jobs)
    monkeypatch.setattr("edgekit.pipeline.validation.run._CHUNK", 4)
    return kept


@pytest.fixture
def asked(tmp_path, monkeypatch) -> dict:
    said = nets.contract(labels=CLASSES)
    nets.pictures(tmp_path / "data", 60, CLASSES)
    return {
        "candidates": (
            nets.classifier(tmp_path / "one.tflite", noise=0.1, said=said),
            nets.classifier(tmp_path / "two.tflite", noise=0.5, said=said),
        ),
        "reference": nets.classifier(tmp_path / "reference.tflite", said=said),
        "data": tmp_path / "data",
    }


def measured(asked, tmp_path, monkeypatch, name: str, **more):
    """With a cache of its own: nothing of the reference is known yet."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / name))
    options = dict(asked)
    candidates = options.pop("candidates")
    return edgekit.validate(*candidates, **options, latency=False, explain="never", **more)


def test_rows_are_those_of_one_process(asked, rows, tmp_path, monkeypatch):
    """Also where a job was killed, whose chunks are measured again."""
    start = Jobs.start

    def start_and_kill_the_second(executor, job, inputs):
        start(executor, job, inputs)
        if executor.started == 2:
            os.kill(executor._running[job.key].process._process.pid, signal.SIGKILL)

    alone = measured(asked, tmp_path, monkeypatch, "alone", jobs=1)
    monkeypatch.setattr(Jobs, "start", start_and_kill_the_second)
    spread = measured(asked, tmp_path, monkeypatch, "spread", cluster="HEAD:1")
    assert len(rows[0]) == 15
    assert rows[0] == rows[1]
    assert _made[-1].started > 3
    assert [one.metrics for one in spread.candidates] == [one.metrics for one in alone.candidates]
    assert [one.worst for one in spread.candidates] == [one.worst for one in alone.candidates]
    assert spread.complete


def test_files_that_are_others_on_a_node(asked, rows, tmp_path, monkeypatch):
    start = Jobs.start

    def change_and_start(executor, job, inputs):
        asked["candidates"][0].write_bytes(asked["candidates"][1].read_bytes())
        start(executor, job, inputs)

    monkeypatch.setattr(Jobs, "start", change_and_start)
    with pytest.raises(DataError, match=r"one\.tflite is not the same on a node"):
        measured(asked, tmp_path, monkeypatch, "spread", cluster="HEAD:1")


def test_not_with_a_device(asked, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="cluster"):
        measured(asked, tmp_path, monkeypatch, "x", cluster="HEAD:1", address="exec:sh")
