"""``edgekit target`` and ``edgekit inspect --target``: what is printed, and the exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import tflite_builder as tiny

from edgekit.cli.boundary import run as run_program
from edgekit.cli.inspect import command as inspect_command
from edgekit.cli.target import command
from edgekit.errors import UsageError
from edgekit.targets.reading import names


@pytest.fixture
def int8_file(tmp_path: Path) -> Path:
    path = tmp_path / "int8.tflite"
    path.write_bytes(tiny.quantized_bytes("static_wi8_ai8"))
    return path


@pytest.fixture
def float_file(tmp_path: Path) -> Path:
    path = tmp_path / "float.tflite"
    path.write_bytes(tiny.tiny_bytes())
    return path


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    from edgekit.cli import group

    code = run_program(group, ["inspect", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_all_targets_are_listed() -> None:
    output = printed("list")
    assert all(name in output for name in names())
    rows = json.loads(printed("list", "--json"))
    assert [row["name"] for row in rows] == list(names())
    assert not next(row for row in rows if row["name"] == "edge-tpu")["verified"]


@pytest.mark.parametrize("name", names())
def test_a_target_is_shown_with_its_sources(name: str) -> None:
    output = printed("show", name)
    assert "Source:" in output
    assert json.loads(printed("show", name, "--json"))["name"] == name


def test_versions_and_what_is_not_known_are_shown() -> None:
    assert "FULLY_CONNECTED 1–10" in printed("show", "tflite-runtime-2.14.0")
    assert "Whether it takes others is not known." in printed("show", "edge-tpu")
    assert "operators: not known" in printed("show", "android-play-services")


def test_a_file_that_fits(int8_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = inspected(capsys, int8_file, "--target", "tflite-runtime-2.14.0")
    assert code == 0
    assert "Target tflite-runtime-2.14.0: fits" in output
    assert "loads: yes" in output
    assert "estimated" in output
    # What to type next has the file's path, and stays in one piece to be copied.
    assert max(len(line) for line in output.splitlines() if not line.startswith("Next")) <= 80


def test_a_file_that_does_not_fit_ends_with_4(
    float_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = ("--target", "edge-tpu", "--target", "tflite-micro")
    code, output = inspected(capsys, float_file, *targets)
    assert code == 4
    assert "Target edge-tpu: does not fit" in output
    assert "Target tflite-micro: fits" in output
    assert "--scheme int8" in output
    assert "read in documents, not tried" in output


def test_the_json_has_everything(
    float_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "small.toml"
    profile.write_text('summary = "a small one"\n[limits]\nfile_bytes = 10\n', encoding="utf-8")
    code, output = inspected(capsys, float_file, "--json", "--target", profile)
    assert code == 4
    (report,) = json.loads(output)["targets"]
    assert report["target"] == "small"
    assert [one["kind"] for one in report["findings"] if one["severity"] == "violation"] == ["size"]
    _, without = inspected(capsys, float_file, "--json")
    assert "targets" not in json.loads(without)


def test_an_unknown_target_is_an_error_of_usage(float_file: Path) -> None:
    with pytest.raises(UsageError, match="no target 'nothing'"):
        CliRunner().invoke(
            inspect_command, [str(float_file), "--target", "nothing"], catch_exceptions=False
        )


def test_names_from_the_file_are_no_markup(
    float_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.tflite.model import read, write

    model = read(float_file)
    model.main.inputs[0].raw.name = "[bold red]image"
    write(model, float_file)
    profile = float_file.with_name("uint8.toml")
    profile.write_text('summary = "x"\n[limits]\ninputs = ["uint8"]\n', encoding="utf-8")
    code, output = inspected(capsys, float_file, "--target", profile)
    assert code == 4
    assert "The input [bold red]image is float32" in output.replace("\n", " ")
