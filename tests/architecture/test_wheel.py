"""The exact contents of the wheel, and that what is in it works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built by the build back end itself, in this environment: no network is needed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def tracked(folder: str) -> set[str]:
    """The files that git knows or would know: no caches, nothing ignored."""
    answer = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in answer.stdout.splitlines() if (ROOT / name).is_file()}


def test_exact_contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
    package = {name for name in names if not name.startswith(info)}
    converters = {name.replace("converters/", "edgekit/_converters/", 1) for name in
                  tracked("converters")}  # fmt: skip
    clients = {name.replace("clients/", "edgekit/_clients/", 1) for name in tracked("clients")}
    compilers = {
        name.replace("compilers/", "edgekit/_compilers/", 1) for name in tracked("compilers")
    }
    sources = {name.replace("sources/", "edgekit/_sources/", 1) for name in tracked("sources")}
    assert package == tracked("edgekit") | converters | clients | compilers | sources
    assert {name.removeprefix(f"{info}/") for name in names - package} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    for needed in ("edgekit/py.typed", "edgekit/_converters/onnx2tf/requirements.lock"):
        assert needed in package
    for name in ("torch", "keras", "onnx", "onnx2tf", "litert_torch"):
        assert f"edgekit/_converters/{name}/converter.toml" in package
        assert f"edgekit/_converters/{name}/worker.py" in package


def test_it_works_away_from_the_checkout(wheel, tmp_path):
    """Unpacked, with the checkout nowhere on the path: the converters are found and start."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = """
import sys
from pathlib import Path
import edgekit
from edgekit.toolchain.converters import builtin_folder, discover, launcher
site = Path(sys.argv[1])
assert Path(edgekit.__file__).is_relative_to(site), edgekit.__file__
assert builtin_folder() == site / "edgekit" / "_converters"
assert launcher().is_file()
assert set(discover()) == {"torch", "keras", "onnx", "onnx2tf", "litert_torch"}
from edgekit.runners.litert import LITERT
from edgekit.toolchain.worker import Worker
with Worker(LITERT.program, python=sys.executable, log=site / "log", name="litert") as worker:
    try:
        worker.call("no_such_verb", {})
    except Exception as error:
        assert "no verb" in str(error), error
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        env=environment,
        cwd=tmp_path,
        check=True,
    )
