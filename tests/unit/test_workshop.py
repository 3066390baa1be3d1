"""A run's workers: started once, recorded as lineage, gone at the end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from edgekit.errors import ModelError, SetupError, StepError, StepTimeout
from edgekit.toolchain import home
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.workshop import Limits, Workshop, versions
from edgekit.types import SilentProgress

SOURCE = """
import os, time
from edgekit_worker import WorkerError

def work(request, progress):
    progress(0.5, "half")
    return {"pid": os.getpid(), "options": {"opset": 18}}

def fail(request, progress):
    raise WorkerError("did not work", kind=request["kind"])

def hang(request, progress):
    time.sleep(60)

def loaded(request, progress):
    return {"pid": os.getpid()}

def read(request, progress):
    return {"text": open(request["artifact"]).read(), "pid": os.getpid()}
"""


@pytest.fixture
def converter(tmp_path) -> Converter:
    (tmp_path / "worker.py").write_text(SOURCE)
    return Converter(
        name="tool",
        summary="",
        program=tmp_path / "worker.py",
        environment="host",
        versions=("numpy", "no-such-distribution"),
        limit_seconds=30,
    )


def test_calls_are_recorded_and_share_a_process(converter):
    import numpy as np

    with Workshop(name="model", progress=SilentProgress()) as shop:
        first, step = shop.call(converter, "work", {}, title="Working", options={"samples": 3})
        second, _ = shop.call(converter, "work", {}, title="Again")
        assert first["pid"] == second["pid"]
        assert psutil.pid_exists(first["pid"])
        shop.release(converter)
        assert not psutil.pid_exists(first["pid"])
        third, _ = shop.call(converter, "work", {}, title="Once more")
        assert third["pid"] != first["pid"]
    assert not psutil.pid_exists(third["pid"])
    assert step.name == "tool work"
    assert step.versions == {"numpy": np.__version__}
    assert step.options == {"samples": 3, "opset": 18}
    assert step.peak_memory_mb is not None
    assert step.peak_memory_mb > 5
    assert Path(step.log or "") == shop.log_folder / "tool.log"
    assert [one.name for one in shop.steps] == ["tool work"] * 3


def test_a_failed_step_knows_what_was_done(converter):
    with Workshop(name="model", progress=SilentProgress()) as shop:
        shop.call(converter, "work", {}, title="")
        with pytest.raises(StepError) as caught:
            shop.call(converter, "fail", {"kind": "conversion"}, title="")
        assert caught.value.done == ("tool work",)
        assert len(shop.steps) == 1
        pid = shop.call(converter, "work", {}, title="")[0]["pid"]
        with pytest.raises(ModelError):
            shop.call(converter, "fail", {"kind": "model"}, title="")
        assert shop.call(converter, "work", {}, title="")[0]["pid"] == pid, "it is still loaded"


def test_limits_of_the_user_win_over_the_manifest(converter):
    limits = Limits(seconds=1)
    with (
        Workshop(name="model", progress=SilentProgress(), limits=limits) as shop,
        pytest.raises(StepTimeout),
    ):
        shop.call(converter, "hang", {}, title="")


def test_an_error_in_between_leaves_no_process(converter):
    pids = []

    def interrupted() -> None:
        with Workshop(name="model", progress=SilentProgress()) as shop:
            pids.append(shop.call(converter, "work", {}, title="")[0]["pid"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not psutil.pid_exists(pids[0])


def test_old_logs_are_pruned(monkeypatch):
    monkeypatch.setattr(home, "_KEPT_RUNS", 3)
    for number in range(5):
        old = home.logs() / f"20200101-00000{number}-old-0"
        old.mkdir(parents=True)
        os.utime(old, (0, 0))
    newest = Workshop(name="new", progress=SilentProgress()).log_folder
    names = sorted(path.name for path in home.logs().iterdir())
    assert names == ["20200101-000003-old-0", "20200101-000004-old-0", newest.name]


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="logs") as caught:
        _ = Workshop(name="model", progress=SilentProgress()).log_folder
    assert "EDGEKIT_HOME" in caught.value.cure


def test_versions_are_those_of_the_named_folder(tmp_path):
    folder = tmp_path / "onnx2tf-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnx2tf\nVersion: 9.9\n")
    assert versions(["onnx2tf", "numpy"], [str(tmp_path)]) == {"onnx2tf": "9.9"}
    assert versions(["pytest"]) == {"pytest": pytest.__version__}


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_HOME", "relative")
    monkeypatch.chdir(tmp_path)
    assert home.home() == tmp_path / "relative"
    monkeypatch.delenv("EDGEKIT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert home.environments() == tmp_path / "edgekit" / "environments"


def test_what_a_worker_is_asked_to_open_it_may_read_and_nothing_else(converter, tmp_path):
    work, model, other = tmp_path / "work", tmp_path / "model", tmp_path / "other"
    work.mkdir()
    for path in (model, other, work / "made"):
        path.write_text(path.name)
    with Workshop(name="m", progress=SilentProgress(), work=work, read=(model,)) as shop:
        answers = [
            shop.call(converter, "read", {"artifact": str(path)}, title="")[0]
            for path in (model, work / "made", other, other)
        ]
        kept = shop.call(converter, "loaded", {"artifact": "package.net:build"}, title="")[0]["pid"]
    assert kept == answers[-1]["pid"], "a factory's name is not a file, and its model stays loaded"
    assert [answer["text"] for answer in answers] == ["model", "made", "other", "other"]
    first, second, third, fourth = (answer["pid"] for answer in answers)
    assert first == second, "it could read both from the start"
    assert second != third == fourth
