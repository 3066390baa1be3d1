"""A short campaign: sound inputs are read, kept cases and a few mutations end as documented."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.toolchain.converters import builtin_folder

from .formats import FORMATS, Format
from .models import DECIDED
from .oracle import judge, judge_file

FOUND, ENDLESS = (Path(__file__).with_name(name) for name in ("found", "endless"))
FIXED = range(12)
FRESH = 4
"""How many seeds of each format are new in every run; a failure names its seed."""

READ_HERE = (*FORMATS, *DECIDED)
each = pytest.mark.parametrize("form", READ_HERE, ids=lambda form: form.name)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(tmp_path_factory.mktemp("home"))
    monkeypatch.setenv("EDGEKIT_HOME", home)
    monkeypatch.setenv("XDG_CACHE_HOME", home)


@each
def test_a_sound_input_is_read(form: Format, tmp_path: Path) -> None:
    file = form.make(tmp_path)
    os.chdir(tmp_path)
    assert form.read(tmp_path, file, random.Random(0)) in form.sound


@each
def test_mutations_end_as_documented(form: Format, tmp_path: Path) -> None:
    start = random.SystemRandom().randrange(1 << 32)
    for seeds in (FIXED, range(start, start + FRESH)):
        tally = judge(form, seeds, tmp_path)
        assert not tally.failures, "\n".join(f"{name}: {why}" for name, _, why in tally.failures)


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_was_once_found(path: Path, tmp_path: Path) -> None:
    name = path.name.partition("--")[0]
    (form,) = [one for one in READ_HERE if one.name.replace(", ", "-").replace(" ", "-") == name]
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert not judge_file(form, path.read_bytes(), folder, seed)


@pytest.mark.parametrize("path", sorted(ENDLESS.iterdir()), ids=lambda path: path.name)
def test_an_hdf5_file_that_its_library_never_comes_to_the_end_of(path: Path) -> None:
    pytest.importorskip("h5py")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import hdf5_check; from pathlib import Path; "
        "hdf5_check._SECONDS = 0.5; hdf5_check.check_weights(Path(sys.argv[3]))"
    )
    folders = [str(builtin_folder()), str(builtin_folder() / "keras")]
    ended = subprocess.run([sys.executable, "-c", code, *folders, str(path)], check=False)
    assert ended.returncode == -signal.SIGALRM
