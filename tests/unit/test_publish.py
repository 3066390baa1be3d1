"""Files appear whole or not at all, and nobody else's file is touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.config import Config
from edgekit.errors import SetupError, UsageError
from edgekit.pipeline.plan import REPORT_NAME, Plan
from edgekit.pipeline.publish import disk_errors, publish, work_folder
from edgekit.pipeline.request import ConversionRequest
from edgekit.results import FileResult
from edgekit.toolchain.converters import Converter
from edgekit.types import SCHEMES, Artifact, ModelSource, Scheme, Verdict


def make_plan(output: Path, *schemes: Scheme, force: bool = False) -> Plan:
    return Plan(
        request=ConversionRequest(force=force),
        config=Config(),
        source=ModelSource(location="net.onnx", kind="onnx", name="net"),
        runner=Converter(name="onnx", summary="", program=Path("x"), environment="host"),
        routes=(),
        converters={},
        choose_fastest=False,
        schemes=schemes or ("fp32", "int8"),
        calibration=None,
        parity=None,
        samples=1,
        labels=(),
        gates=(),
        output=output,
    )


def result(path: Path, scheme: Scheme, error: str = "") -> FileResult:
    return FileResult(
        scheme=scheme,
        artifact=Artifact(path=path, sha256="", kind="tflite", scheme=scheme),
        parity=None,
        latency=None,
        verdict=Verdict(gates=()),
        metrics={},
        error=error,
    )


def report_of(plan: Plan, *paths: object, content: bytes = b"new") -> str:
    listed = paths or [str(plan.file(scheme)) for scheme in plan.schemes]
    sha256 = hashlib.sha256(content).hexdigest()
    return json.dumps(
        {"files": [{"artifact": {"path": path, "sha256": sha256}} for path in listed]}
    )


def run(plan: Plan, content: bytes = b"new", errors: dict[str, str] | None = None) -> None:
    """What a run does: work, then publish."""
    with work_folder(plan) as work:
        files = []
        for scheme in plan.schemes:
            made = work / f"{scheme}.tflite"
            made.write_bytes(content)
            files.append(result(made, scheme, (errors or {}).get(scheme, "")))
        publish(plan, files, report_of(plan, content=content))


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_run_leaves_its_files_and_nothing_else(tmp_path):
    plan = make_plan(tmp_path / "deep" / "out")
    run(plan)
    assert tree(plan.output) == {"net_fp32.tflite", "net_int8.tflite", REPORT_NAME}
    assert plan.file("int8").read_bytes() == b"new"
    assert json.loads(plan.report.read_text())["files"]
    if os.name == "posix":
        assert plan.report.stat().st_mode & 0o777 == 0o644


def test_a_file_that_failed_is_not_published(tmp_path):
    plan = make_plan(tmp_path / "out")
    run(plan, errors={"int8": "did not work"})
    assert tree(plan.output) == {"net_fp32.tflite", REPORT_NAME}


def test_every_scheme_has_a_file_of_its_own(tmp_path):
    plan = make_plan(tmp_path, *SCHEMES)
    assert len({plan.file(scheme) for scheme in SCHEMES}) == len(SCHEMES)


@pytest.mark.parametrize("existing", ["net_int8.tflite", REPORT_NAME])
def test_an_existing_output_is_kept_without_force(tmp_path, existing):
    (tmp_path / existing).write_text("precious")
    with (
        pytest.raises(UsageError, match="exists already") as caught,
        work_folder(make_plan(tmp_path)),
    ):
        pytest.fail("it must not begin")
    assert "--force" in caught.value.cure
    assert tree(tmp_path) == {existing}
    assert (tmp_path / existing).read_text() == "precious"


def test_foreign_files_do_not_stop_a_run_and_stay(tmp_path):
    for name in ("notes.txt", "net_fp16.tflite", "other.tflite"):
        (tmp_path / name).write_text("foreign")
    run(make_plan(tmp_path))
    run(make_plan(tmp_path, force=True))
    for name in ("notes.txt", "net_fp16.tflite", "other.tflite"):
        assert (tmp_path / name).read_text() == "foreign"


def test_force_replaces_and_removes_what_only_the_older_run_made(tmp_path):
    run(make_plan(tmp_path, "fp32", "int8", "fp16"), b"old")
    run(make_plan(tmp_path, "fp32", force=True), b"new")
    assert tree(tmp_path) == {"net_fp32.tflite", REPORT_NAME}
    assert (tmp_path / "net_fp32.tflite").read_bytes() == b"new"
    assert len(json.loads((tmp_path / REPORT_NAME).read_text())["files"]) == 1


def test_an_older_file_whose_scheme_fails_now_does_not_stay_and_look_new(tmp_path):
    run(make_plan(tmp_path, "fp32", "int8"), b"old")
    run(make_plan(tmp_path, "fp32", "int8", force=True), errors={"int8": "no"})
    assert tree(tmp_path) == {"net_fp32.tflite", REPORT_NAME}


def test_a_file_that_was_changed_since_the_older_run_is_foreign_now(tmp_path):
    run(make_plan(tmp_path, "fp32", "int8"), b"old")
    (tmp_path / "net_int8.tflite").write_bytes(b"the user's own")
    run(make_plan(tmp_path, "fp32", force=True))
    assert (tmp_path / "net_int8.tflite").read_bytes() == b"the user's own"


@pytest.mark.parametrize(
    "listed",
    [
        "../../x.tflite",
        "../x.tflite",
        "{root}/x.tflite",
        "notes.txt",
        "sub/../../x.tflite",
        "..",
        "",
        ".tflite",
        5,
        None,
    ],
)
def test_an_older_report_cannot_have_files_deleted_outside(tmp_path, listed):
    output = tmp_path / "a" / "out"
    output.mkdir(parents=True)
    foreign = [tmp_path / "x.tflite", tmp_path / "a" / "x.tflite", output / "notes.txt"]
    for path in foreign:
        path.write_text("foreign")
    plan = make_plan(output, force=True)
    name = listed.format(root=tmp_path) if isinstance(listed, str) else listed
    plan.report.write_text(report_of(plan, name))
    run(plan)
    assert all(path.read_text() == "foreign" for path in foreign)
    assert plan.file("int8").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"files": 5}', '{"files": [1]}', '{"files": [{}]}', "\0"]
)
def test_an_older_report_that_makes_no_sense(tmp_path, text):
    (tmp_path / REPORT_NAME).write_text(text)
    run(make_plan(tmp_path, force=True))
    assert tree(tmp_path) == {"net_fp32.tflite", "net_int8.tflite", REPORT_NAME}


# ------------------------------------------------------------------------- failing


def fail_in(plan: Plan) -> None:
    with work_folder(plan) as work:
        (work / "half.tflite").write_text("half")
        raise RuntimeError("the run failed")


def test_a_failed_run_removes_what_it_made(tmp_path):
    with pytest.raises(RuntimeError):
        fail_in(make_plan(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_failed_run_leaves_an_older_result_alone(tmp_path):
    run(make_plan(tmp_path), b"old")
    before = tree(tmp_path)
    with pytest.raises(RuntimeError):
        fail_in(make_plan(tmp_path, force=True))
    assert tree(tmp_path) == before
    assert (tmp_path / "net_int8.tflite").read_bytes() == b"old"
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError):
        fail_in(make_plan(tmp_path / "empty"))
    assert (tmp_path / "empty").is_dir(), "it was there before"


def test_while_files_are_replaced_no_report_claims_to_be_complete(tmp_path, monkeypatch):
    run(make_plan(tmp_path), b"old")
    seen = []
    replace = Path.replace

    def spy(self: Path, target: Path) -> Path:
        seen.append((target.name, (tmp_path / REPORT_NAME).exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    run(make_plan(tmp_path, force=True))
    assert seen == [("net_fp32.tflite", False), ("net_int8.tflite", False), (REPORT_NAME, False)]


# ------------------------------------------------------------------------- the lock


def run_with_lock(plan: Plan, lock: str) -> None:
    with work_folder(plan) as work:
        made = work / "fp32.tflite"
        made.write_bytes(b"new")
        publish(plan, [result(made, "fp32")], report_of(plan), lock=lock)


def test_the_lock_comes_with_the_files(tmp_path):
    plan = make_plan(tmp_path, "fp32")
    run_with_lock(plan, "the lock")
    assert tree(tmp_path) == {"net_fp32.tflite", "edgekit.lock", REPORT_NAME}
    assert plan.lock.read_text() == "the lock"
    with pytest.raises(UsageError, match="exists already"):
        run_with_lock(make_plan(tmp_path, "fp16"), "another")
    assert plan.lock.read_text() == "the lock"
    run_with_lock(make_plan(tmp_path, "fp32", force=True), "another")
    assert plan.lock.read_text() == "another"


def test_while_files_are_replaced_there_is_no_lock_of_others(tmp_path, monkeypatch):
    run_with_lock(make_plan(tmp_path, "fp32"), "old")
    seen = []
    replace = Path.replace

    def spy(self: Path, target: Path) -> Path:
        seen.append((target.name, (tmp_path / "edgekit.lock").exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    run_with_lock(make_plan(tmp_path, "fp32", force=True), "new")
    assert seen == [("net_fp32.tflite", False), ("edgekit.lock", False), (REPORT_NAME, True)]


# ------------------------------------------------------------------------- leftovers


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_killed_runs_are_removed_and_those_of_living_ones_kept(tmp_path):
    dead = tmp_path / f".edgekit-work-{dead_pid()}-abc"
    alive = tmp_path / f".edgekit-work-{os.getpid()}-abc"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "x").write_text("x")
    (tmp_path / ".edgekit-work-q7_half_report").write_text("{")
    (tmp_path / ".edgekit-other").mkdir()
    with work_folder(make_plan(tmp_path)) as work:
        assert work.is_dir()
        assert work.parent == tmp_path, "the same file system, so that moving is atomic"
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, ".edgekit-other"}


def test_a_killed_run_leaves_no_file_and_the_next_one_cleans_up(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_publish import make_plan
from edgekit.pipeline.publish import work_folder
with work_folder(make_plan(Path({str(tmp_path / "out")!r}))) as work:
    (work / "half.tflite").write_text("half")
    os.kill(os.getpid(), 9)
"""
    answer = subprocess.run([sys.executable, "-c", code], check=False)
    assert answer.returncode == -9
    left = list((tmp_path / "out").iterdir())
    assert all(path.name.startswith((".edgekit-work-", ".edgekit-lock")) for path in left)
    run(make_plan(tmp_path / "out"))
    assert tree(tmp_path / "out") == {"net_fp32.tflite", "net_int8.tflite", REPORT_NAME}


# ------------------------------------------------------------------------- the disk


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_an_output_folder_that_cannot_be(tmp_path, output):
    (tmp_path / "file").write_text("a file, no folder")
    with (
        pytest.raises(SetupError, match=r"cannot be written|is a file") as caught,
        work_folder(make_plan(tmp_path / output)),
    ):
        pytest.fail("it must not begin")
    assert "--output" in caught.value.cure
    assert (tmp_path / "file").read_text() == "a file, no folder"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with (
        pytest.raises(SetupError, match="cannot be written"),
        work_folder(make_plan(tmp_path / "locked")),
    ):
        pytest.fail("it must not begin")


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "is full"), (errno.EACCES, "cannot be written"), (errno.EROFS, "written")],
)
def test_refusals_of_the_disk(tmp_path, code, words):
    with pytest.raises(SetupError, match=words), disk_errors(tmp_path):
        raise OSError(code, os.strerror(code))


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(OSError, match="odd"), disk_errors(tmp_path):
        raise OSError(errno.EIO, "odd")


def test_a_full_disk_in_the_middle_leaves_the_older_result(tmp_path):
    run(make_plan(tmp_path), b"old")

    def fill(plan: Plan) -> None:
        with work_folder(plan):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SetupError, match="full"):
        fill(make_plan(tmp_path, force=True))
    assert (tmp_path / "net_int8.tflite").read_bytes() == b"old"
    assert (tmp_path / REPORT_NAME).exists()
