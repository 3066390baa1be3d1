"""Building isolated environments, with a uv that is a script written here."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import SetupError
from edgekit.toolchain import environments
from edgekit.toolchain.converters import Converter

FAKE_UV = """#!{python}
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
with open({calls!r}, "a") as stream:
    stream.write(json.dumps(arguments) + "\\n")
if arguments[0] == "venv":
    program = pathlib.Path(arguments[-1]) / "bin" / "python"
    program.parent.mkdir(parents=True)  # fails where rubbish was left
    program.write_text("")
    (program.parents[1] / "lib/python3.12/site-packages").mkdir(parents=True)
else:
    time.sleep({slow})
    marker = pathlib.Path(arguments[arguments.index("--python") + 1]).parents[1]
    assert not (marker / "edgekit-complete.json").exists(), "the marker came before the packages"
    print({answer!r})
    sys.exit({code})
"""


class Uv:
    """A fake uv: what it was asked is in ``calls``."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "uv-calls.jsonl"
        self.program = folder / "fake-uv"
        self.will()

    def will(self, answer: str = "Installed", code: int = 0, slow: float = 0) -> None:
        text = FAKE_UV.format(
            python=sys.executable, calls=str(self._calls), slow=slow, answer=answer, code=code
        )
        self.program.write_text(text)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    @property
    def calls(self) -> list[list[str]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture
def uv(tmp_path, monkeypatch) -> Uv:
    fake = Uv(tmp_path)
    monkeypatch.setattr(environments, "uv", lambda: str(fake.program))
    monkeypatch.setattr(environments, "find_python", lambda specifier: f"/found/{specifier}")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return fake


@pytest.fixture
def converter(tmp_path) -> Converter:
    folder = tmp_path / "some.tool"
    folder.mkdir()
    lock = folder / "requirements.lock"
    lock.write_text("numpy==2.0.0 --hash=sha256:00\n")
    return Converter(
        name="some_tool",
        summary="",
        program=folder / "worker.py",
        environment="isolated",
        python=">=3.12",
        requirements=lock,
    )


def test_built_once_from_the_hashed_lock(uv, converter, tmp_path):
    assert not environments.is_ready(converter)
    first = environments.ensure(converter)
    assert environments.is_ready(converter)
    assert environments.ensure(converter) == first
    venv, install = uv.calls
    assert first.folder is not None
    assert first.folder.parent == tmp_path / "home" / "environments"
    assert venv == ["venv", "--no-config", "--python", "/found/>=3.12", str(first.folder)]
    assert install[:2] == ["pip", "install"]
    assert "--require-hashes" in install
    assert install[install.index("--requirements") + 1] == str(converter.requirements)
    assert install[install.index("--python") + 1] == first.python
    assert first.site_packages() == [str(first.folder / "lib/python3.12/site-packages")]


def test_another_lock_or_python_is_another_environment(uv, converter):
    first = environments.location(converter)
    assert environments.location(replace(converter, python=">=3.13")) != first
    assert converter.requirements is not None
    converter.requirements.write_text("numpy==2.0.1 --hash=sha256:00\n")
    assert environments.location(converter) != first


def test_a_half_built_environment_is_never_used(uv, converter):
    folder = environments.location(converter)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("rubbish of a killed build")
    (folder / "rubbish").write_text("")
    assert not environments.is_ready(converter)
    environments.ensure(converter)
    assert len(uv.calls) == 2
    assert not (folder / "rubbish").exists()


# What uv 0.9 writes, shortened.
NO_NETWORK = """  × Failed to fetch: `https://registry.invalid/simple/onnx2tf/`
  ├─▶ Request failed after 3 retries
  ├─▶ error sending request for url (https://registry.invalid/simple/onnx2tf/)
  ├─▶ client error (Connect)
  ╰─▶ dns error: failed to lookup address information: Name or service not known"""
HASH = """  × Failed to download `idna==3.7`
  ╰─▶ Hash mismatch for `idna==3.7`

      Expected:
        sha256:0000
      Computed:
        sha256:82fe"""
DISK = """error: Failed to install: onnx-1.22.0.whl
  Caused by: failed to copy file from /a to /b
  Caused by: No space left on device (os error 28)"""


@pytest.mark.parametrize(
    ("answer", "cause", "cure"),
    [
        (DISK, "disk is full", "Free 3 GB, or move EDGEKIT_HOME"),
        (NO_NETWORK, "registry cannot be reached", "Connect once"),
        ("error: operation timed out", "registry cannot be reached", "Connect once"),
        (HASH, "does not have the locked digest", "mirror or proxy"),
        ("error: No interpreter found for Python 3.12", "no suitable Python", "EDGEKIT_PYTHON"),
        ("error: something else entirely", "uv failed", "log"),
    ],
)
def test_a_failed_build_says_why_and_is_not_used(uv, converter, answer, cause, cure):
    uv.will(answer=answer, code=1)
    with pytest.raises(SetupError, match=cause) as caught:
        environments.ensure(converter)
    assert cure in caught.value.cure
    assert "some_tool" in caught.value.cause
    assert caught.value.log is not None
    assert answer in caught.value.log.read_text(encoding="utf-8")
    assert not environments.is_ready(converter)
    uv.will()
    environments.ensure(converter)
    assert environments.is_ready(converter)


def test_the_diagnosis_looks_at_the_answer_not_at_names_of_folders(
    uv, converter, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "offline-networks"))
    uv.will(answer="error: something else entirely", code=1)
    with pytest.raises(SetupError, match="uv failed"):
        environments.ensure(converter)


def test_the_diagnosis_is_of_the_last_attempt(uv, converter):
    uv.will(answer=DISK, code=1)
    with pytest.raises(SetupError, match="disk"):
        environments.ensure(converter)
    uv.will(answer=HASH, code=1)
    with pytest.raises(SetupError, match="digest"):
        environments.ensure(converter)


def test_two_builders_build_once(uv, converter):
    uv.will(slow=0.5)
    folders: list[object] = []
    waits: list[str] = []

    class Watch:
        def step(self, title: str) -> None:
            waits.append(title)

        def update(self, fraction: float, message: str = "") -> None: ...

        def note(self, message: str) -> None: ...

    def build() -> None:
        folders.append(environments.ensure(converter, Watch()))

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 3
    assert len(set(folders)) == 1
    assert [call[0] for call in uv.calls] == ["venv", "pip"]
    assert sum("Waiting for another" in title for title in waits) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_build_once(uv, converter):
    import multiprocessing

    uv.will(slow=0.5)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=environments.ensure, args=(converter,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [call[0] for call in uv.calls] == ["venv", "pip"]


def test_a_lock_of_a_dead_builder_does_not_block(uv, converter):
    folder = environments.location(converter)
    folder.parent.mkdir(parents=True)
    (folder.parent / f"{folder.name}.lock").write_text("")
    environments.ensure(converter)


def test_environments_of_different_converters_have_their_own_lock(uv, converter, tmp_path):
    """A folder's name may have a dot: it is not a file ending."""
    environments.ensure(converter)
    other = tmp_path / "some.other"
    other.mkdir()
    lock = other / "requirements.lock"
    lock.write_text("onnx==1.0 --hash=sha256:00\n")
    environments.ensure(replace(converter, name="other", requirements=lock))
    locks = {path.name for path in (tmp_path / "home" / "environments").glob("*.lock")}
    assert len(locks) == 2


def test_remove(uv, converter):
    assert not environments.remove(converter)
    environments.ensure(converter)
    assert environments.remove(converter)
    assert not environments.location(converter).exists()
    assert not environments.is_ready(converter)
    assert not environments.remove(converter)
    environments.ensure(converter)
    assert len(uv.calls) == 4


def test_a_home_that_is_no_folder(uv, converter, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="cannot be written") as caught:
        environments.ensure(converter)
    assert "EDGEKIT_HOME" in caught.value.cure


def test_a_full_disk_while_the_log_is_written(uv, converter, monkeypatch):
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(environments, "_run_uv", full)
    with pytest.raises(SetupError, match="No space left"):
        environments.ensure(converter)


def test_a_missing_lock_file(uv, converter):
    assert converter.requirements is not None
    converter.requirements.unlink()
    with pytest.raises(SetupError, match="lock file of the converter some_tool"):
        environments.ensure(converter)


def test_a_host_converter_uses_this_python_or_says_what_is_missing(uv, converter):
    host = replace(converter, environment="host", requirements=None, modules=("json", "os.path"))
    assert environments.ensure(host).python == sys.executable
    assert environments.ensure(host).site_packages() is None
    lacking = replace(host, modules=("json", "no_such", "nor.this"), install="pip install it")
    assert environments.missing_modules(lacking) == ["no_such", "nor.this"]
    assert not environments.is_ready(lacking)
    with pytest.raises(SetupError, match=r"needs no_such, nor\.this") as caught:
        environments.ensure(lacking)
    assert caught.value.cure == "pip install it"
    assert uv.calls == []


def test_uv_sees_what_pip_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("VIRTUAL_ENV", "/users/own")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} /elsewhere")
    variables = environments.uv_environment()
    assert "VIRTUAL_ENV" not in variables
    assert variables["UV_FIND_LINKS"] == f"{tmp_path},/elsewhere"
    assert variables["UV_TORCH_BACKEND"] == "cpu"
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").write_text("")
    assert "UV_TORCH_BACKEND" not in environments.uv_environment()


def test_the_guard_of_the_tests_themselves(converter):
    """A test that is not marked e2e cannot build a real environment by accident."""
    with pytest.raises(pytest.fail.Exception, match="Mark it e2e"):
        environments.ensure(replace(converter, python=">=3.11"))
