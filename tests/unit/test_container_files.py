"""The files for containers, as far as they can be judged without running them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    pairs = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, arguments) for name, arguments in pairs]


def test_the_last_stage_is_slim_and_not_root() -> None:
    names = [name for name, _ in instructions()]
    last = instructions()[len(names) - 1 - names[::-1].index("FROM") :]
    assert last[0][1].startswith("python:3.12-slim")
    assert dict(last)["USER"] not in ("root", "0")
    assert set(names) <= {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "VOLUME", "USER", "CMD"}


def test_it_installs_extras_that_exist_and_torch_for_the_cpu() -> None:
    (install,) = [text for name, text in instructions() if "uv pip install" in text]
    extras = re.search(r"'\.\[(.*)\]'", install).group(1).split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"torch", "ray"} <= set(extras) <= set(project["optional-dependencies"])
    assert "--torch-backend cpu" in install


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        source
        for name, text in instructions()
        if name == "COPY" and "--from" not in text
        for source in text.split()[:-1]
    ]
    assert set(copied) == set(let_in)
    assert all((ROOT / one).exists() for one in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"]} <= set(copied)  # what it is built from


def test_what_is_called_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    program, *arguments = json.loads(dict(instructions())["CMD"])
    assert program in project["scripts"]
    assert arguments == ["--help"]
    yaml = pytest.importorskip("yaml")
    start = pytest.importorskip("ray.scripts.scripts").start
    known = {name for option in start.params for name in (*option.opts, *option.secondary_opts)}
    for service in yaml.safe_load(COMPOSE)["services"].values():
        ray, verb, *options = service["command"].split()
        assert (ray, verb) == ("ray", "start")
        assert {one.partition("=")[0] for one in options} <= known


def test_compose_has_a_head_and_two_workers_of_this_image() -> None:
    services = COMPOSE.partition("\nservices:\n")[2]
    assert re.findall(r"^  (\w+):$", services, re.MULTILINE) == ["head", "worker"]
    commands = re.findall(r"command: ray start (.*)$", services, re.MULTILINE)
    assert all(command.endswith("--block") for command in commands)
    port = re.search(r"--head --port=(\d+)", commands[0]).group(1)
    assert f"--address=head:{port}" in commands[1]
    assert "replicas: 2" in services
    assert "privileged" not in COMPOSE
    assert "ports:" not in COMPOSE  # whoever reaches them can run code
