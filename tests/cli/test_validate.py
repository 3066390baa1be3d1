"""``edgekit validate`` and ``benchmark``: refusals before any work, the table, the exit codes."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import tflite_builder as tiny
from validation_results import classifier as result
from validation_results import failed

from edgekit.cli import benchmark as benchmark_cli
from edgekit.cli import group
from edgekit.cli.boundary import run
from edgekit.pipeline.validation import run as validation
from edgekit.pipeline.validation.reports import Reports
from edgekit.types import LatencyReport
from edgekit.validation_result import ValidationResult


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny.tiny_bytes())
    return path


def validated(monkeypatch: pytest.MonkeyPatch, outcome: ValidationResult, *arguments: str):
    """The command with a result that is known; what it was asked is the second value."""
    asked = []

    def stub(request, progress):
        asked.append(request)
        return outcome

    monkeypatch.setattr(validation, "validate", stub)
    words = ["validate", "a.tflite", "--reference", "r.onnx", "--data", "photos", *arguments]
    finished = CliRunner().invoke(group, words, standalone_mode=False)
    if finished.exception:
        raise finished.exception
    return finished, asked[0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Missing argument"),
        (["a.tflite"], 2, "--reference"),
        (["none.tflite", "--reference", "NET", "--data", "."], 2, "none.tflite"),
        (["NET", "--reference", "none.onnx", "--data", "."], 2, "none.onnx"),
        (["NET", "NET", "--reference", "NET", "--data", "."], 2, "twice"),
        (["NET", "--reference", "NET", "--data", ".", "--gate", "speed > 1"], 2, "no known metric"),
        (["NET", "--reference", "NET", "--data", ".", "--config", "no.toml"], 2, "no.toml"),
        (["NET", "--reference", "NET", "--data", ".", "--jobs", "0"], 2, "--jobs"),
        (["NET", "--reference", "NET", "--data", ".", "--input", "x"], 2, "NAME:SHAPE"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(net, capsys, arguments, code, words):
    given = [str(net) if one == "NET" else one for one in arguments]
    assert run(group, ["validate", *given]) == code
    assert words in capsys.readouterr().err


def test_a_report_that_is_there_is_not_replaced_by_chance(tmp_path, net, capsys):
    (tmp_path / "report.json").write_text("mine")
    words = ["validate", str(net), "--reference", str(net), "--data", ".", "-o", str(tmp_path)]
    assert run(group, words) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "report.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "place", "words"),
    [
        ("--junit", "there.xml", "--force"),
        ("--markdown", "there.xml", "--force"),
        ("--junit", ".", "is a folder"),
        ("--junit", "there.xml/new.xml", "there.xml is a file"),
        ("-o", "there.xml", "there.xml is a file"),
        ("--tensorboard", "there.xml/board", "there.xml is a file"),
    ],
)
def test_where_nothing_can_be_written_is_said_before_the_work(
    tmp_path, net, capsys, option, place, words
):
    (tmp_path / "there.xml").write_text("mine")
    given = ["validate", str(net), "--reference", str(net), "--data", "."]
    assert run(group, [*given, option, str(tmp_path / place)]) == 2
    assert words in capsys.readouterr().err
    assert (tmp_path / "there.xml").read_text() == "mine"


def test_a_server_that_does_not_answer_is_given_the_time_that_was_asked_for(net, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v2/models/net"
        code = run(
            group,
            ["validate", str(net), "--reference", url, "--data", str(tmp_path), "--timeout", "0.3"],
        )
    assert code == 5
    assert "did not answer within 0.3 s" in capsys.readouterr().err


def test_exit_codes(monkeypatch):
    good = result()
    passing = replace(
        good, candidates=tuple(one for one in good.candidates if one.verdict.passed)[:1]
    )
    assert not passing.candidates[0].error
    assert validated(monkeypatch, passing, "-q")[0].return_value == 0
    broken = replace(good, candidates=(failed(),))
    assert validated(monkeypatch, broken, "-q")[0].return_value == 3
    cut = replace(passing, complete=False)
    assert validated(monkeypatch, cut, "-q")[0].return_value == 130


def test_options_reach_the_request(monkeypatch):
    arguments = ["--limit", "7", "--seed", "3", "--jobs", "2", "--resume", "--no-latency"]
    arguments += ["--metric", "m:f", "--gate", "f <= 1", "--mean", "0.5", "--strict", "-q"]
    arguments += ["--input", "image:1x3x8x8", "--reference-device", "cpu", "--worst", "0"]
    _, request = validated(monkeypatch, result(), *arguments)
    assert (request.limit, request.seed, request.jobs, request.worst) == (7, 3, 2, 0)
    assert request.resume
    assert request.strict
    assert not request.latency
    assert (request.metric, request.gates, request.device) == ("m:f", ("f <= 1",), "cpu")
    assert request.preprocess == {"mean": (0.5,)}
    assert request.inputs[0].shape == (1, 3, 8, 8)
    assert request.candidates == (Path("a.tflite"),)


def test_the_table_fits_80_columns_and_markup_in_names_is_text(monkeypatch):
    outcome = result()
    evil = replace(outcome.candidates[0], name="[bold red]x[/] " + "long_" * 20)
    outcome = replace(outcome, candidates=(evil, *outcome.candidates[1:]))
    finished, _ = validated(monkeypatch, outcome)
    table = finished.stdout.split("Against")[0].splitlines()
    table = [line for line in table if not line.startswith(("PASS", "FAIL", "UNKNOWN", "   "))]
    assert max(map(len, table)) <= 80
    assert "[bold red]x" in finished.stdout
    for one in outcome.candidates[1:]:
        assert one.name in finished.stdout


def test_json_is_the_report(monkeypatch):
    finished, _ = validated(monkeypatch, result(), "--json")
    document = json.loads(finished.stdout)
    assert document["schema"] == "edgekit-validation"
    assert document["passed"] == result().passed
    assert [one["name"] for one in document["candidates"]] == [
        one.name for one in result().candidates
    ]


def test_reports_are_whole_or_not_there(tmp_path):
    reports = Reports(
        output=tmp_path / "out",
        junit=tmp_path / "ci" / "a.xml",
        markdown=tmp_path / "ci" / "a.md",
    )
    reports.check()
    with reports.held():
        written = reports.write(result())
    assert [path.name for path in written] == ["report.json", "report.html", "a.xml", "a.md"]
    assert all(path.stat().st_size for path in written)
    assert not list(tmp_path.rglob("*.part"))
    assert result().reference.name in (tmp_path / "ci" / "a.md").read_text()


def test_benchmark_prints_what_was_measured_and_why_not(net, monkeypatch, capsys):
    from edgekit.pipeline.validation import timing
    from edgekit.runners.protocol import OperatorTime, Timing

    measured = Timing(
        latency=LatencyReport(
            samples_ms=tuple(float(one) for one in range(1, 101)),
            threads=2,
            load_ms=3.0,
            first_ms=9.0,
        ),
        peak_memory_mb=54.9,
        arena_mb=2.5,
        operators=(OperatorTime(operator="CONV_2D", count=3, ms=0.9, share=0.9, delegate="X"),),
    )
    monkeypatch.setattr(
        timing, "benchmark", lambda *_, **__: ({"net": measured}, {"bad": "it does not load"})
    )
    assert run(group, ["benchmark", str(net), "bad.tflite"]) == 3
    streams = capsys.readouterr()
    assert "50.50" in streams.out
    assert "CONV_2D" in streams.out
    assert "bad was not timed: it does not load" in streams.err
    assert run(group, ["benchmark", str(net), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["timings"]["net"]["operators"][0]["operator"] == "CONV_2D"


def test_benchmark_of_what_is_no_model(tmp_path, capsys):
    (tmp_path / "x.tflite").write_bytes(b"no model")
    assert run(group, ["benchmark", str(tmp_path / "x.tflite")]) == 3
    assert "not a .tflite" in capsys.readouterr().err
    assert run(group, ["benchmark", str(tmp_path / "none.tflite")]) == 2


def test_help_loads_nothing_heavy():
    assert CliRunner().invoke(benchmark_cli.command, ["--help"]).exit_code == 0
