"""Planning and running a sweep with an executor that makes everything up."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import validate_nets as nets
from job_fakes import FakeExecutor

from edgekit.errors import SetupError, UsageError
from edgekit.jobs.protocol import Ending, Job, Outcome
from edgekit.pipeline.publish import held
from edgekit.sweep.file import sweep_from_table
from edgekit.sweep.planning import SweepPlan, plan_sweep
from edgekit.sweep.run import SweepResult, carry_out, look_ahead, require_new


@dataclass
class MadeUp(FakeExecutor):
    """Answers as the jobs of a sweep do; ``figures`` by the name of a job."""

    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    endings: Mapping[str, Ending] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.act = lambda one, _: self.endings.get(one.name, Ending.DONE)

    def outcomes(self, timeout: float) -> list[Outcome]:
        jobs = dict(self._running)
        return [self._answered(jobs[one.key], one) for one in super().outcomes(timeout)]

    def _answered(self, job: Job, outcome: Outcome) -> Outcome:
        from dataclasses import replace

        step = job.function.rpartition(":")[2]
        value: dict[str, Any] = {"metrics": dict(self.figures.get(job.name, {}))}
        if step == "to_scheme":
            value |= {
                "file": "said.txt",
                "report": "said.txt",
                "sha256": "s",
                "state": "pass",
                "why": [],
            }
        if step == "to_figures":
            value |= {"state": "pass", "why": [], "samples": 20, "machine": {"cpu": "A"}}
        return replace(outcome, value=value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        nets.classifier(
            tmp_path / f"{name}.tflite", said=nets.contract(), noise=0.01 * (name == "two")
        )
    nets.pictures(tmp_path / "photos", 3)
    (tmp_path / "work").mkdir()
    return tmp_path


def planned(folder: Path, **parts: Any) -> SweepPlan:
    table = {
        "models": [{"model": "one.tflite"}, {"model": "two.tflite"}],
        "settings": {"calibration": "photos", "data": "photos"},
        "sweep": {"schemes": ["fp16", "int8"], "efforts": ["fast", "balanced"]},
        **parts,
    }
    return plan_sweep(sweep_from_table(table, folder, "sweep.toml"), cores=2)


def run(folder: Path, plan: SweepPlan, **made_up: Any) -> tuple[SweepResult, list[str]]:
    executor = MadeUp(folder / "work", **made_up)
    result = carry_out(plan, folder / "out", executor=lambda _: executor)
    return result, executor.started


def steps(plan: SweepPlan) -> dict[str, int]:
    found: dict[str, int] = {}
    for job in plan.jobs.values():
        step = job.function.rpartition(":")[2]
        found[step] = found.get(step, 0) + 1
    return found


def test_one_float_file_and_one_recording_serve_all_schemes_of_a_model(folder: Path) -> None:
    plan = planned(folder)
    assert steps(plan) == {"to_float": 2, "to_scheme": 6, "to_recording": 2, "to_figures": 6}
    assert len(plan.candidates) == 6


def test_another_runtime_measures_the_same_files(folder: Path) -> None:
    runtimes = {"runtimes": ["local", "tflite-runtime==2.14.0"], "schemes": ["int8"]}
    assert steps(planned(folder, sweep=runtimes)) == {
        "to_float": 2,
        "to_scheme": 2,
        "to_recording": 2,
        "to_figures": 4,
    }


def test_without_data_files_are_only_timed(folder: Path) -> None:
    plan = planned(folder, settings={"calibration": "photos"})
    assert steps(plan) == {"to_float": 2, "to_scheme": 6, "to_latency": 6}


def test_what_changes_a_step_changes_its_key_and_those_behind_it_only(folder: Path) -> None:
    def keys(plan: SweepPlan, step: str) -> set[str]:
        return {key for key, job in plan.jobs.items() if job.function.endswith(f":{step}")}

    before = planned(folder)
    settings = {"calibration": "photos", "data": "photos"}
    gated = planned(folder, settings={**settings, "gates": ["int8:top1_agreement >= 90%"]})
    assert keys(gated, "to_float") == keys(before, "to_float")
    assert keys(gated, "to_recording") == keys(before, "to_recording")
    assert not keys(gated, "to_scheme") & keys(before, "to_scheme")
    stricter = planned(folder, settings={**settings, "gates": ["fp32:centred_sqnr_db >= 70"]})
    assert not keys(stricter, "to_float") & keys(before, "to_float")
    nets.classifier(folder / "one.tflite", said=nets.contract(), noise=0.5)
    changed = planned(folder)
    assert len(keys(changed, "to_float") & keys(before, "to_float")) == 1
    assert len(keys(changed, "to_scheme") & keys(before, "to_scheme")) == 3
    nets.pictures(folder / "photos", 4)
    assert not keys(planned(folder), "to_float") & keys(changed, "to_float")


def test_a_copy_elsewhere_has_the_same_keys(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import shutil

    copy = tmp_path_factory.mktemp("copy") / "sweep"
    shutil.copytree(folder, copy)
    assert set(planned(copy).jobs) == set(planned(folder).jobs)


def test_jobs_are_plain_data(folder: Path) -> None:
    for job in planned(folder).jobs.values():
        assert json.loads(json.dumps(job.arguments)) == job.arguments


def test_every_model_that_cannot_be_converted_is_named_before_anything_runs(folder: Path) -> None:
    models = [{"model": "one.tflite"}, {"model": "gone.tflite"}, {"model": "nets.py:build"}]
    with pytest.raises(UsageError) as caught:
        planned(folder, models=models)
    assert "The model 'gone'" in caught.value.cause
    assert "The model 'nets'" in caught.value.cause
    with pytest.raises(UsageError, match="top1_agrement"):
        planned(folder, settings={"calibration": "photos", "gates": ["top1_agrement >= 90%"]})
    with pytest.raises(UsageError, match="nowhere"):
        planned(folder, settings={"calibration": "photos", "data": "nowhere"})


def test_a_second_run_has_nothing_to_do(folder: Path) -> None:
    plan = planned(folder)
    assert look_ahead(plan, folder / "out").done == frozenset()
    assert not (folder / "out").exists()
    first, started = run(folder, plan)
    assert (first.complete, first.done, len(started)) == (True, 16, 16)
    again, started = run(folder, plan)
    assert (again.known, started) == (16, [])
    assert look_ahead(plan, folder / "out").done == set(plan.jobs)
    with pytest.raises(UsageError, match="holds a sweep already"):
        require_new(folder / "out")


def test_a_failed_conversion_is_told_for_all_that_needs_it(folder: Path) -> None:
    result, started = run(folder, planned(folder), endings={"one float": Ending.WRONG_INPUT})
    states = {row.point.name: row.state for row in result.table}
    assert {name for name, state in states.items() if state == "failed"} == {
        "one fp16",
        "one int8 fast",
        "one int8 balanced",
    }
    assert all("one float: one float ended" in row.why[0] for row in result.table[:3])
    assert [one.name for one in result.failures] == ["one float"]
    assert result.complete
    assert not result.passed
    assert "one fp16" not in started


def test_a_search_measures_the_dominated_on_few_samples_only(folder: Path) -> None:
    def figures(accuracy: float, latency: float) -> dict[str, float]:
        return {"top1_accuracy": accuracy, "latency_p50_ms": latency, "size_mb": 1.0}

    names = ("fp16", "int8 fast", "int8 balanced")
    first = {f"{model} {name}": figures(0.1, 9.0) for model in ("one", "two") for name in names}
    first["one fp16"] = figures(0.9, 2.0)
    first["two int8 fast"] = figures(0.8, 1.0)
    made_up = {
        f"{name} on local{end}": one for name, one in first.items() for end in ("", ", 2 samples")
    }
    plan = planned(folder, search={"samples": [2], "keep": 0.3})
    result, started = run(folder, plan, figures=made_up)
    last = {name for name in started if name.endswith(" on local")}
    assert last == {"one fp16 on local", "two int8 fast on local"}
    assert {row.point.name for row in result.table if row.front} == {"one fp16", "two int8 fast"}
    assert sum(row.state == "dropped" for row in result.table) == 4
    assert (result.complete, result.passed) == (True, True)
    _, again = run(folder, plan, figures=made_up)
    assert again == []


def test_two_sweeps_in_one_folder_are_refused(folder: Path) -> None:
    with held(folder / "out"), pytest.raises(SetupError, match="Another run is writing to"):
        run(folder, planned(folder))


def test_each_size_is_a_model_of_its_own(folder: Path) -> None:
    (folder / "nets.py").write_text("def build(): ...\n")
    plan = planned(
        folder,
        models=[{"model": "nets.py:build"}],
        settings={"calibration": "photos", "inputs": ["image:1x3x{height}x{width}"]},
        sweep={"schemes": ["fp16", "int8"], "sizes": [32, "48x64"]},
    )
    assert steps(plan) == {"to_float": 2, "to_scheme": 4, "to_latency": 4}
    shapes = {
        job.name: job.arguments["request"]["inputs"][0]["shape"]  # type: ignore[index, call-overload]
        for job in plan.jobs.values()
        if job.function.endswith(":to_float")
    }
    assert shapes == {"nets 32 float": [1, 3, 32, 32], "nets 48x64 float": [1, 3, 48, 64]}


def test_a_gate_on_latency_is_judged_where_nothing_else_runs(folder: Path) -> None:
    settings = {"calibration": "photos", "gates": ["latency_p50_ms <= 5"]}
    for gates, cores in ((settings, 2.0), ({"calibration": "photos"}, 1.0)):
        plan = planned(folder, settings=gates)
        made = [job for job in plan.jobs.values() if job.function.endswith(":to_scheme")]
        assert {job.resources.cores for job in made} == {cores}


def test_what_is_measured_has_the_machine_or_its_device_to_itself(folder: Path) -> None:
    plan = planned(folder, sweep={"schemes": ["int8"], "runtimes": ["local"], "devices": ["adb:X"]})
    found = {
        job.name.partition(" on ")[2]: job.resources
        for job in plan.jobs.values()
        if job.function.endswith(":to_figures")
    }
    assert found["local"].cores == 2.0
    assert found["adb:X"].devices == {"adb:X"}


def test_a_budget_is_that_of_the_int8_files_alone(folder: Path) -> None:
    settings = {"calibration": "photos", "max_drop": 0.02, "max_latency": 1.5, "keep_float": ["a"]}
    plan = planned(folder, settings=settings)
    before = planned(folder, settings={"calibration": "photos"})
    made = {job.name: job for job in plan.jobs.values()}
    for name, limits in (("one int8 fast", (0.02, 1.5, ["a"])), ("one fp16", (None, None, []))):
        request: Any = made[name].arguments["request"]
        found = request["max_drop"], request["max_latency"], request["keep_float"]
        assert found == limits
    # Its files are timed while they are made; the floating file keeps no scales for it.
    assert made["one int8 fast"].resources.cores == 2.0
    changed = {job.name for key, job in plan.jobs.items() if key not in before.jobs}
    assert "one float" in changed
    more = planned(folder, settings=settings | {"max_drop": 0.01})
    assert "one float" not in {job.name for key, job in more.jobs.items() if key not in plan.jobs}


def test_a_device_s_name_stands_for_its_address(folder: Path) -> None:
    (folder / "edgekit.toml").write_text('[devices]\nboard = "exec:python3"\n')
    keys = [
        set(planned(folder, sweep={"schemes": ["int8"], "devices": [one]}).jobs)
        for one in ("board", "exec:python3")
    ]
    assert keys[0] == keys[1]
    plan = planned(folder, sweep={"schemes": ["int8"], "devices": ["board"]})
    assert {one.point.on for one in plan.candidates} == {"board"}
    measured = [job for job in plan.jobs.values() if job.function.endswith(":to_figures")]
    assert {job.resources.devices for job in measured} == {frozenset({"exec:python3"})}


def test_clocks_that_jump_decide_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of machines that differ do: what is done is known by what it was made from."""
    clock = itertools.cycle([4e9, 0.0, 1e9])
    monkeypatch.setattr("time.time", lambda: next(clock))
    result, started = run(folder, planned(folder))
    assert (result.complete, len(started)) == (True, len(planned(folder).jobs))
    for path in folder.rglob("*"):
        os.utime(path, (next(clock), next(clock)))
    result, again = run(folder, planned(folder))
    assert (again, result.complete) == ([], True)


def test_a_full_disk_ends_the_sweep_and_keeps_what_had_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.jobs.store import Store

    plan, adopt, count = planned(folder), Store._adopt, [0]

    def full(store: Store, files: Path) -> str:
        count[0] += 1
        if count[0] > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return adopt(store, files)

    monkeypatch.setattr(Store, "_adopt", full)
    with pytest.raises(SetupError, match="What had finished is kept"):
        run(folder, plan)
    monkeypatch.undo()
    result, started = run(folder, plan)
    assert (result.known, len(started), result.complete) == (5, 11, True)
