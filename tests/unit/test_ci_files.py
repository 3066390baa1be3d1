"""The GitHub Action and the pre-commit hook, as far as they can be judged here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import yaml

from edgekit import cli

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def options_of(command: str) -> set[str]:
    found = cli.group.get_command(click.Context(cli.group), command)
    assert found is not None
    return {flag for one in found.params for flag in (*one.opts, *one.secondary_opts)}


def run_action(tmp_path: Path, options: str, code: int = 0) -> tuple[int, list[str]]:
    """The second step with a stand-in for edgekit; its exit code, and what edgekit was given."""
    stand_in = tmp_path / "edgekit"
    stand_in.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        f"json.dump(sys.argv[1:], open({str(tmp_path / 'said')!r}, 'w'))\nsys.exit({code})\n"
    )
    stand_in.chmod(0o755)
    step = ACTION["runs"]["steps"][1]
    given = {
        "FILES": "a.tflite b.tflite", "REFERENCE": "my net.onnx", "DATA": "photos; touch no",
        "OPTIONS": options, "OUTPUT": "out", "GITHUB_STEP_SUMMARY": "summary",
    }  # fmt: skip
    assert set(step["env"]) <= set(given)
    environment = {**os.environ, **given, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", step["run"]], cwd=tmp_path, env=environment, check=False)
    return done.returncode, json.loads((tmp_path / "said").read_text())


def test_the_action_calls_validate_and_keeps_its_exit_code(tmp_path: Path) -> None:
    code, said = run_action(tmp_path, '--gate "top1_agreement >= 95%" --limit 5', code=4)
    assert code == 4
    assert said[:7] == [
        "validate", "a.tflite", "b.tflite", "--reference", "my net.onnx", "--data",
        "photos; touch no",
    ]  # fmt: skip
    assert said[-4:] == ["--gate", "top1_agreement >= 95%", "--limit", "5"]
    assert {one for one in said if one.startswith("--")} <= options_of("validate")
    assert not (tmp_path / "no").exists()


def test_the_action_takes_no_options_and_no_others_actions(tmp_path: Path) -> None:
    assert run_action(tmp_path, "")[1][-1] == "out/summary.md"
    steps = ACTION["runs"]["steps"]
    assert not any("uses" in step for step in steps)  # nothing that would have to be pinned
    # What a workflow passes reaches the shell as environment only.
    assert not any("${{" in step["run"] for step in steps)
    used = set(re.findall(r"inputs\.(\w+)", json.dumps(ACTION)))
    assert used == set(ACTION["inputs"])


def test_the_hook_calls_verify() -> None:
    program, command, *flags = shlex.split(HOOK["entry"])
    assert (program, HOOK["language"]) == ("edgekit", "python")
    assert set(flags) <= options_of(command)
    assert re.search(HOOK["files"], "models/net_int8.tflite")
