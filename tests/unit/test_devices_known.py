"""The devices that were used before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.devices.facts import DeviceFacts
from edgekit.devices.known import known_devices, remember

FACTS = DeviceFacts.parse({"machine": "aarch64", "cores": 4, "name": "Board"})
EMULATOR = f"exec:qemu-aarch64 -L /{'very/long/' * 60}python3"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    return tmp_path


def test_newest_first_and_each_once():
    for address in ("ssh://one", EMULATOR, "ssh://one", EMULATOR, "local"):
        remember(address, FACTS)
    assert [one.address for one in known_devices()] == [EMULATOR, "ssh://one"]
    assert known_devices()[0].words == "aarch64, 4 cores, Board"


def test_only_so_many():
    for number in range(30):
        remember(f"ssh://board{number}", FACTS)
    assert len(known_devices()) == 20
    assert known_devices()[0].address == "ssh://board29"


@pytest.mark.parametrize("text", ["", "{", "[3]", '{"a": 1}', '[{"address": "x"}]'])
def test_a_damaged_file_is_as_if_there_was_none(home, text):
    (home / "devices.json").write_text(text)
    assert known_devices() == []
    remember("ssh://one", FACTS)
    assert len(json.loads((home / "devices.json").read_text())) == 1


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch):
    monkeypatch.setenv("EDGEKIT_HOME", "/dev/null/home")
    remember("ssh://one", replace(FACTS, cores=1))
