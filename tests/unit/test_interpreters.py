"""Finding a Python, against packaging's reading of PEP 440."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from edgekit.errors import SetupError
from edgekit.toolchain import interpreters
from edgekit.toolchain.interpreters import find_python, satisfies, version_of

numbers = st.integers(0, 20)
versions = st.tuples(st.integers(2, 4), numbers, numbers)
bounds = st.lists(numbers, min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
near = st.sampled_from(["3", "3.11", "3.12", "3.12.0", "3.12.4", "3.15"])
clauses = st.one_of(
    st.builds("{}{}".format, st.sampled_from([">=", "<=", "<", ">", "==", "!="]), bounds | near),
    st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), bounds | near),
)


@given(
    versions | st.sampled_from([(3, 11, 0), (3, 12, 0), (3, 12, 4), (3, 15, 2)]),
    st.lists(clauses, min_size=1, max_size=3).map(", ".join),
)
def test_satisfies_agrees_with_packaging(version, specifier):
    expected = SpecifierSet(specifier).contains(".".join(map(str, version)))
    assert satisfies(version, specifier) == expected


@pytest.mark.parametrize("text", ["", "3.12", "~=3.12", ">=", ">=3.12.*", ">=3.x", ">=3.12;", "=3"])
def test_what_is_no_specifier_is_refused(text):
    with pytest.raises(ValueError, match="not a version specifier"):
        satisfies((3, 12, 0), text)


def script(path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def fake_python(path, version: str) -> str:
    return script(path, f"#!/bin/sh\necho {version.replace('.', ' ')}\n")


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n",
        "#!/bin/sh\necho not a version\n",
        "#!/bin/sh\necho 3 12\n",
        "#!/bin/sh\nprintf '\\377\\376'\n",
        "#!/nowhere/at/all\n",
        "",
    ],
)
def test_broken_shims_are_no_python(tmp_path, text):
    assert version_of(script(tmp_path / "python", text)) is None


def test_missing_and_unrunnable_files_are_no_python(tmp_path):
    assert version_of(str(tmp_path / "gone")) is None
    (tmp_path / "plain").write_text("#!/bin/sh\necho 3 12 1\n")
    assert version_of(str(tmp_path / "plain")) is None
    assert version_of(str(tmp_path)) is None


def test_the_version_of_this_python():
    assert version_of(sys.executable) == sys.version_info[:3]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with no Python but this one and those that a test adds."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(interpreters, "_uv_interpreters", lambda: iter(()))
    monkeypatch.delenv("EDGEKIT_PYTHON", raising=False)
    monkeypatch.delenv("UV_OFFLINE", raising=False)
    monkeypatch.setattr(sys, "executable", fake_python(tmp_path / "running", "3.11.2"))
    (tmp_path / "bin").mkdir()
    return tmp_path


def test_where_it_is_looked_for_and_in_which_order(machine, monkeypatch):
    assert find_python(">=3.11") == str(machine / "running")
    assert find_python(">=3.12,<3.15") == "3.12", "uv may download it"
    pyenv = machine / "pyenv" / "versions" / "3.13.1" / "bin"
    pyenv.mkdir(parents=True)
    in_pyenv = fake_python(pyenv / "python", "3.13.1")
    assert find_python(">=3.12,<3.15") == in_pyenv
    script(machine / "bin" / "python3.14", "#!/bin/sh\nexit 127\n")
    assert find_python(">=3.12,<3.15") == in_pyenv, "a broken shim is passed over"
    on_path = fake_python(machine / "bin" / "python3.12", "3.12.5")
    assert find_python(">=3.12,<3.15") == on_path
    own = fake_python(machine / "own", "3.12.9")
    old = fake_python(machine / "old", "3.9.1")
    monkeypatch.setenv("EDGEKIT_PYTHON", f"{old}:{own}")
    assert find_python(">=3.12,<3.15") == own
    assert find_python("==3.13.*") == in_pyenv


def test_none_and_none_to_be_downloaded(machine, monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(SetupError, match=r"No Python >=3\.12") as caught:
        find_python(">=3.12,<3.15")
    assert "EDGEKIT_PYTHON" in caught.value.cure
    monkeypatch.delenv("UV_OFFLINE")
    with pytest.raises(SetupError):
        find_python("==3.12.*", allow_download=False)


@pytest.mark.parametrize(
    ("specifier", "wanted"),
    [("<3.15,>=3.12", "3.12"), ("==3.13.*", "3.13"), (">=3.12", "3.12"), ("<3.11", "<3.11")],
)
def test_the_version_to_download_is_the_lower_bound(machine, specifier, wanted):
    assert find_python(specifier) == wanted


def test_without_uv(monkeypatch):
    import uv as package

    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(package, "find_uv_bin", nowhere)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SetupError) as caught:
        interpreters.uv()
    assert caught.value.cure == "pip install uv"
