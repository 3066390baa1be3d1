"""What the command line refuses before any converter starts: in words, with the right code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli import boundary, group
from edgekit.errors import EdgekitError, by_kind
from edgekit.pipeline import publish
from edgekit.toolchain import home

ONNX = b"only its name counts: nothing here is opened"


def edgekit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments],
        cwd=folder,
        env={**os.environ, "UV_OFFLINE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(ONNX)
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "empty.pt").touch()
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "code.py").write_text("def build(): ...")
    (tmp_path / "folder").mkdir()
    return tmp_path


SYNTHETIC = ["model.onnx", "--synthetic"]
REFUSALS: dict[str, tuple[int, list[str], str]] = {
    # what is wrong: (exit code, arguments of convert, what the message names)
    "no model": (2, ["--synthetic"], "No model was named"),
    "missing file": (2, ["none.onnx", "--synthetic"], "none.onnx"),
    "missing code": (2, ["none.py:build", "--synthetic"], "none.py"),
    "empty file": (3, ["empty.onnx", "--synthetic"], "empty.onnx is empty"),
    "empty weights": (3, ["empty.pt", "--synthetic"], "empty.pt is empty"),
    "unknown kind": (2, ["notes.txt", "--synthetic"], "notes.txt"),
    "code without a function": (2, ["code.py", "--synthetic"], "code.py"),
    "folder that is not a SavedModel": (2, ["folder", "--synthetic"], "saved_model.pb"),
    "missing weights": (2, ["code.py:build", "--weights", "w.pt", "--synthetic"], "w.pt"),
    "no data": (2, ["model.onnx"], "No calibration data"),
    "data and no data": (2, [*SYNTHETIC, "--calibration", "folder"], "contradict"),
    "colours of no pixels": (2, [*SYNTHETIC, "--feed-color", "BGR"], "--fold-preprocess"),
    "unknown route": (2, [*SYNTHETIC, "--route", "magic"], "magic"),
    "input without a shape": (2, [*SYNTHETIC, "--input", "image"], "image"),
    "input with a wrong shape": (2, [*SYNTHETIC, "--input", "image:1xthree"], "1xthree"),
    "input with a zero": (2, [*SYNTHETIC, "--input", "image:1x0x8"], "1x0x8"),
    "input of an unknown type": (2, [*SYNTHETIC, "--input", "image:1x3:float7"], "float7"),
    "gate that is not a condition": (2, [*SYNTHETIC, "--gate", "good"], "good"),
    "gate on an unknown metric": (2, [*SYNTHETIC, "--gate", "beauty >= 1"], "beauty"),
    "gate on an unknown scheme": (2, [*SYNTHETIC, "--gate", "int3:size_mb <= 1"], "int3"),
    "unknown scheme": (2, [*SYNTHETIC, "--scheme", "int9"], "int9"),
    "mean that is not a number": (2, [*SYNTHETIC, "--mean", "0.5,half"], "half"),
    "scale by nothing": (2, [*SYNTHETIC, "--scale", "1/0"], "1/0"),
    "crop that is not a size": (2, [*SYNTHETIC, "--crop", "8x8x8"], "8x8x8"),
    "samples below one": (2, [*SYNTHETIC, "--samples", "0"], "samples"),
    "unknown option": (2, [*SYNTHETIC, "--shceme", "int8"], "--shceme"),
    "missing configuration": (2, [*SYNTHETIC, "--config", "none.toml"], "none.toml"),
    "missing labels": (2, [*SYNTHETIC, "--labels", "none.txt"], "none.txt"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_names_the_cause_and_leaves_nothing(folder: Path, what: str) -> None:
    code, arguments, named = REFUSALS[what]
    before = sorted(folder.rglob("*"))
    finished = edgekit(folder, "convert", *arguments)
    assert finished.returncode == code, finished.stderr
    assert named in finished.stderr
    assert "Error: " in finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
    assert finished.stdout == ""
    assert sorted(folder.rglob("*")) == before
    assert (folder / "model.onnx").read_bytes() == ONNX


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[model]\nsorce = 'x'", "sorce"),
        ("[modell]", "modell"),
        ("[inputs.image]\nshpae = [1]", "shpae"),
        ("[calibration]\nimages = 3", "images"),
        ("[gates]\nbeauty = '>= 1'", "beauty"),
        ("model = [", "edgekit.toml"),
    ],
)
def test_a_configuration_with_a_mistake_is_refused_by_name(
    folder: Path, toml: str, named: str
) -> None:
    (folder / "edgekit.toml").write_text(toml)
    finished = edgekit(folder, "convert", *SYNTHETIC, "--config", "edgekit.toml")
    assert finished.returncode == 2, finished.stderr
    assert named in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "what", ["missing file", "empty file", "no data", "unknown scheme", "unknown option"]
)
def test_with_json_an_error_is_an_object_on_standard_output(folder: Path, what: str) -> None:
    code, arguments, named = REFUSALS[what]
    finished = edgekit(folder, "convert", *arguments, "--json")
    error = json.loads(finished.stdout)["error"]
    assert finished.returncode == error["exit_code"] == code
    assert named in error["cause"]
    assert error["cure"]
    assert error["kind"] == ("model" if code == 3 else "usage")


def test_existing_outputs_are_not_replaced_without_force(folder: Path) -> None:
    output = folder / "out"
    output.mkdir()
    kept = output / "model_fp32.tflite"
    kept.write_bytes(b"mine")
    finished = edgekit(folder, "convert", *SYNTHETIC, "--scheme", "fp32", "--output", "out")
    assert finished.returncode == 2
    assert "model_fp32.tflite exists already" in finished.stderr
    assert "--force" in finished.stderr
    assert list(output.iterdir()) == [kept]
    assert kept.read_bytes() == b"mine"


@pytest.mark.parametrize("output", ["notes.txt", "notes.txt/below", "/proc/edgekit/out"])
def test_an_output_folder_that_cannot_be_made_is_a_matter_of_the_machine(
    folder: Path, output: str
) -> None:
    before = sorted(folder.rglob("*"))
    finished = edgekit(folder, "convert", *SYNTHETIC, "--output", output)
    assert finished.returncode == 5, finished.stderr
    assert output in finished.stderr
    assert "Cure: " in finished.stderr
    assert sorted(folder.rglob("*")) == before


def test_a_name_that_no_file_can_have_is_a_matter_of_the_command(folder: Path) -> None:
    for option in ("--output", "--calibration", "--labels", "--config"):
        finished = edgekit(folder, "convert", "model.onnx", option, f"{'long' * 100}/out")
        assert finished.returncode == 2, finished.stderr
        assert "not a name that a file can have" in finished.stderr


def test_what_edgekit_did_not_foresee_goes_to_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("an accident")

    monkeypatch.setattr("edgekit.toolchain.doctor.examine", explode)
    assert boundary.run(group, ["doctor"]) == EdgekitError.exit_code
    shown = capsys.readouterr()
    assert "ZeroDivisionError: an accident" in shown.err
    assert "Traceback" not in shown.err + shown.out
    (log,) = home.logs().glob("*-internal/traceback.log")
    assert "Traceback" in log.read_text()
    assert str(log) in shown.err


def test_each_kind_of_error_has_a_name_of_its_own() -> None:
    def tree(kind: type[EdgekitError]) -> list[type[EdgekitError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in tree(child))]

    public = [one for one in tree(EdgekitError) if one.__module__ == "edgekit.errors"]
    kinds = [one.kind for one in public]
    assert len(set(kinds)) == len(kinds)
    assert by_kind("data").exit_code == 6
    assert by_kind("never heard of").exit_code == 3


def test_a_full_disk_while_publishing_keeps_the_files_of_the_run_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bytes to be written are the report's: they must not be missing at the end."""
    from errno import ENOSPC
    from types import SimpleNamespace

    report, old = tmp_path / "edgekit-report.json", tmp_path / "model_fp32.tflite"
    report.write_text(json.dumps({"files": [{"artifact": {"path": str(old)}}]}))
    old.write_bytes(b"old")
    work = tmp_path / "work"
    work.mkdir()
    new = work / "model_fp32.tflite"
    new.write_bytes(b"new")
    lock = tmp_path / "edgekit.lock"
    page = tmp_path / "edgekit-report.html"
    plan = SimpleNamespace(output=tmp_path, report=report, page=page, lock=lock, file=lambda _: old)
    made = SimpleNamespace(error="", scheme="fp32", artifact=SimpleNamespace(path=new))
    before = report.read_text()

    def full(*_: object, **__: object) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="space"):
            publish.publish(plan, [made], "{}")
    assert (old.read_bytes(), report.read_text()) == (b"old", before)
    publish.publish(plan, [made], "{}")
    assert (old.read_bytes(), report.read_text()) == (b"new", "{}")
