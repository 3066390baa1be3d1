"""``edgekit embed``: what people see, what programs read, and the words of its errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from embed_nets import net_with
from validate_nets import pictures

from edgekit.cli.boundary import run as run_command
from edgekit.cli.embed import command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pictures(tmp_path / "photos", 4, size=40)
    return net_with(tmp_path / "net.tflite", {"scores": (1, 4)}, task="classification")


def run(file: Path, *arguments: str) -> Result:
    words = [str(file), "--target", "micro", "--samples", str(file.parent / "photos"), *arguments]
    return CliRunner().invoke(command, words, catch_exceptions=False)


def test_the_table_and_what_comes_next(file: Path) -> None:
    result = run(file, "--output", str(file.parent / "module"))
    assert result.exit_code == 0
    for text in ("bilinear", "antialiased", "nearest", "files for micro", "3 samples", "README.md"):
        assert text in result.output
    assert max(map(len, result.stdout.splitlines()[:7])) <= 80


def test_json_has_everything(file: Path) -> None:
    result = run(file, "--output", str(file.parent / "module"), "--json", "--golden", "2")
    told = json.loads(result.stdout)
    assert told["target"] == "micro"
    assert len(told["samples"]) == 2
    assert told["spec"]["decode"]["kind"] == "classification"
    assert {cost["way"] for cost in told["costs"]} == {"bilinear", "antialiased", "nearest"}
    for path in told["files"]:
        assert (Path(told["output"]) / path).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--target", "abacus"], 2, "Choose one of: "),
        (["--samples", "{tmp}/nowhere"], 6, "no data at"),
        (["--output", "/proc/module"], 5, "cannot be written"),
        (["--output", "{tmp}/net.tflite"], 5, "is a file, not a folder"),
        (["--output", "{tmp}/photos"], 2, "is not empty"),
    ],
)
def test_errors_have_a_cure_and_a_code(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    tmp = str(file.parent)
    usual = {"--target": "micro", "--output": f"{tmp}/module", "--samples": f"{tmp}/photos"}
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = {**usual, **{name: value.format(tmp=tmp) for name, value in given.items()}}
    flat = [word for pair in options.items() for word in pair]
    assert run_command(command, [str(file), *flat, "--quiet"]) == code
    told = capsys.readouterr().err
    assert words in told
    assert "Cure" in told
    assert "Traceback" not in told
