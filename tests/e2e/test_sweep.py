"""A sweep of real files: the verdicts are those of `edgekit convert` and `edgekit validate`."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import edgekit
from edgekit.cli.boundary import run as run_command
from edgekit.jobs.store import Store
from edgekit.sweep.file import read_sweep
from edgekit.sweep.planning import plan_sweep
from edgekit.sweep.run import cores_here

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # the nets of the unit tests
import validate_nets as nets

pytestmark = pytest.mark.e2e

LABELS = ("ant", "bee", "cat", "dog", "elk")
SWEEP = """
[sweep]
schemes = ["fp16", "int8"]
[settings]
calibration = "photos"
data = "photos"
accept_few = true
min_sqnr = 12
seed = 3
[[models]]
model = "one.tflite"
[[models]]
model = "broken.tflite"
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, edgekit.SweepResult]:
    folder = tmp_path_factory.mktemp("sweep")
    nets.classifier(folder / "one.tflite", said=nets.contract(labels=LABELS))
    whole = nets.classifier(folder / "whole.tflite", said=nets.contract(labels=LABELS))
    (folder / "broken.tflite").write_bytes(whole.read_bytes()[:-3000])
    nets.pictures(folder / "photos", 24)
    (folder / "sweep.toml").write_text(SWEEP)
    return folder, edgekit.sweep(folder / "sweep.toml", output=folder / "out")


def test_files_and_verdicts_are_those_of_convert(
    swept: tuple[Path, edgekit.SweepResult], tmp_path: Path
) -> None:
    folder, result = swept
    alone = edgekit.convert(
        str(folder / "one.tflite"),
        calibration=folder / "photos",
        schemes=["fp16", "int8"],
        accept_few=True,
        min_sqnr=12,
        seed=3,
        output=tmp_path / "out",
    )
    rows = {row.point.scheme: row for row in result.table if row.point.model == "one"}
    for file in alone.files:
        row = rows[file.scheme]
        assert row.sha256 == file.artifact.sha256
        assert (folder / "out" / row.file).read_bytes() == file.artifact.path.read_bytes()
        report = json.loads(
            (folder / "out" / row.file).with_name("edgekit-report.json").read_text()
        )
        (told,) = report["files"]
        alike = {name: value for name, value in told["metrics"].items() if "latency" not in name}
        assert alike == pytest.approx({name: file.metrics[name] for name in alike}, rel=1e-5)
        assert [gate["state"] for gate in told["verdict"]["gates"]] == [
            gate.state for gate in file.verdict.gates
        ]
        assert report["source_digest"] == alone.source_digest


def test_figures_are_those_of_validate(swept: tuple[Path, edgekit.SweepResult]) -> None:
    folder, result = swept
    row = next(row for row in result.table if row.point.scheme == "int8" and row.file)
    alone = edgekit.validate(
        folder / "out" / row.file,
        reference=str(folder / "one.tflite"),
        data=folder / "photos",
        accept_few=True,
        latency=False,
    )
    metrics = alone.candidates[0].metrics
    same = ("centred_sqnr_db", "top1_agreement", "max_abs")
    assert {name: row.metrics[name] for name in same} == pytest.approx(
        {name: metrics[name] for name in same}, rel=1e-5
    )
    assert row.samples == 24


def test_a_device_by_its_name_has_one_holder_and_its_own_front(
    swept: tuple[Path, edgekit.SweepResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that had it at the same time would find it busy, and be tried again."""
    folder, here = swept
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # the agent's
    address = f"exec:{shlex.quote(sys.executable)}"
    (folder / "edgekit.toml").write_text(f"[devices]\nboard = {json.dumps(address)}\n")
    text = SWEEP.replace("[settings]", 'devices = ["board"]\n[settings]')
    (folder / "there.toml").write_text(text.partition('[[models]]\nmodel = "broken')[0])
    shutil.copytree(
        folder / "out", tmp_path / "out"
    )  # what is made there already is not made again
    result = edgekit.sweep(folder / "there.toml", output=tmp_path / "out")
    assert not result.failures
    assert result.known == 4  # a float file, a recording, two files
    with Store(tmp_path / "out") as store:
        plan = plan_sweep(read_sweep(folder / "there.toml"), cores=cores_here())
        keys = [one.rounds[-1] for one in plan.candidates]
        assert [kept.tries for kept in store.find(keys).values()] == [1, 1]
    same = ("centred_sqnr_db", "top1_agreement", "max_abs")
    at_home = {row.point.scheme: row for row in here.table if row.point.model == "one"}
    for row in result.table:
        assert row.point.on == "board"
        assert row.state == at_home[row.point.scheme].state
        assert row.metrics["latency_p50_ms"] > 0
        assert {name: row.metrics[name] for name in same} == pytest.approx(
            {name: at_home[row.point.scheme].metrics[name] for name in same}, rel=1e-5
        )
    assert {row.machine for row in result.table}.isdisjoint(row.machine for row in here.table)


def test_a_model_that_cannot_be_read_stops_nothing_else(
    swept: tuple[Path, edgekit.SweepResult],
) -> None:
    _, result = swept
    failed = [row for row in result.table if row.state == "failed"]
    assert {row.point.model for row in failed} == {"broken"}
    assert [one.name for one in result.failures] == ["broken float", "broken reference"]
    assert all("broken.tflite" in row.why[0] for row in failed)
    assert any(row.front for row in result.table if row.point.model == "one")


def test_it_is_looked_at_and_its_best_files_are_taken_out(
    swept: tuple[Path, edgekit.SweepResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.cli import group

    folder, result = swept
    out = str(folder / "out")
    assert run_command(group, ["sweep", "status", out]) == 0
    assert "broken float failed (wrong-input)" in capsys.readouterr().out
    assert run_command(group, ["sweep", "results", out, "--front", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["sha256"] for row in rows} == {row.sha256 for row in result.front}
    assert run_command(group, ["sweep", "show", out, "one int8"]) == 0
    assert "one int8 balanced on local: " in capsys.readouterr().out
    assert run_command(group, ["sweep", "export", out, "-o", str(tmp_path / "best")]) == 0
    taken = sorted((tmp_path / "best").glob("*/*.tflite"))
    assert len(taken) == len(result.front)
    for file in taken:
        assert run_command(group, ["verify", str(file)]) == 0
    assert run_command(group, ["sweep", str(folder / "sweep.toml"), "-o", out, "-q"]) == 3
