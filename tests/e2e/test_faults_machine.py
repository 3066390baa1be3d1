"""What the machine or a back end does to a run: full disks, no network, crashes, limits."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fault_helpers import (
    INPUT,
    SYNTHETIC,
    TINY_TORCH,
    add_converter,
    edgekit,
    json_on_stdout,
    leftovers,
    refusal,
    save_tiny_onnx,
    save_tiny_tflite,
    snapshot,
)

pytestmark = pytest.mark.e2e


# --- disks -------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An empty folder to mount something small on; taken away again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", folder], capture_output=True, check=False)


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if not shutil.which("mount"):
        pytest.skip("there is no mount command here, so no small disk to fill")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {done.stderr.strip()}")


@pytest.mark.parametrize("kilobytes", [4, 32, 64])
def test_a_full_disk(tmp_path: Path, mounted: Path, kilobytes: int) -> None:
    """At the data, in a worker, at the end: wherever the space ends, it is the same refusal."""
    save_tiny_tflite(tmp_path)
    mount(mounted, f"size={kilobytes}k")
    (mounted / "mine.txt").write_text("keep me")
    arguments = ("convert", "tiny.tflite", *SYNTHETIC, "--output", "disk")
    refusal(tmp_path, *arguments, code=5, says=("disk", "is full"), cure="Free some space")


@pytest.mark.parametrize("route", ["onnx2tf", "litert_torch"])
def test_a_disk_that_fills_up_inside_a_back_end(tmp_path: Path, mounted: Path, route: str) -> None:
    """onnx2tf and PyTorch's exporter each hide it: no fault of the model, and said so."""
    (tmp_path / "net.py").write_text(TINY_TORCH)
    mount(mounted, "size=72k")
    arguments = ("convert", "net.py:build", *INPUT, *SYNTHETIC, "--output", "disk")
    arguments += ("--route", route)
    refusal(tmp_path, *arguments, code=5, says="is full", cure="Free some space")


def test_an_output_folder_on_a_read_only_disk(tmp_path: Path, mounted: Path) -> None:
    save_tiny_tflite(tmp_path)
    mount(mounted, "ro")
    arguments = ("convert", "tiny.tflite", *SYNTHETIC, "--output", "disk/out")
    refusal(tmp_path, *arguments, code=5, says=("disk/out", "Read-only"), cure="--output")


# --- the network and the environments ----------------------------------------------------------


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "registry out of reach"])
def test_no_network_and_no_environment(tmp_path: Path, offline: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        registry = f"http://127.0.0.1:{free.getsockname()[1]}/simple"
        nothing = tmp_path / "nothing"
        env = {
            "EDGEKIT_HOME": nothing / "home",
            "UV_CACHE_DIR": nothing / "cache",
            "UV_HTTP_RETRIES": "0",
            "UV_FIND_LINKS": "",
            "PIP_FIND_LINKS": "",
            **({"UV_OFFLINE": "1"} if offline else {"UV_INDEX_URL": registry}),
        }
        work = tmp_path / "work"
        work.mkdir()
        save_tiny_onnx(work / "tiny.onnx")
        arguments = ("convert", "tiny.onnx", *SYNTHETIC)
        cure = "edgekit toolchain install"
        refusal(work, *arguments, code=5, says=("onnx", "registry"), cure=cure, env=env)


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_a_home_that_cannot_be_written(tmp_path: Path, home: str) -> None:
    save_tiny_tflite(tmp_path)
    (tmp_path / "file").write_text("no folder")
    env = {"EDGEKIT_HOME": tmp_path / home}
    arguments = ("convert", "tiny.tflite", *SYNTHETIC)
    refusal(tmp_path, *arguments, code=5, says=str(tmp_path / home), cure="EDGEKIT_HOME", env=env)


def test_a_folder_of_converters_that_is_not_there(tmp_path: Path) -> None:
    save_tiny_onnx(tmp_path / "tiny.onnx")
    env = {"EDGEKIT_CONVERTERS": tmp_path / "nowhere"}
    arguments = ("convert", "tiny.onnx", *SYNTHETIC)
    refusal(tmp_path, *arguments, code=5, says="EDGEKIT_CONVERTERS", cure="variable", env=env)


# --- back ends that misbehave ------------------------------------------------------------------

SEGFAULT = "import ctypes\nctypes.string_at(0)"


def test_a_back_end_that_crashes_gives_way_to_the_next_route(tmp_path: Path) -> None:
    model = save_tiny_onnx(tmp_path / "tiny.onnx").read_bytes()
    env = add_converter(tmp_path / "converters", "crashing", SEGFAULT)
    finished = edgekit(tmp_path, "convert", "tiny.onnx", *SYNTHETIC, "--json", env=env)
    assert finished.code == 0, finished.text
    crashed, used = json_on_stdout(finished)["attempts"]
    assert (crashed["route"], crashed["state"]) == ("crashing", "abandoned")
    assert "SIGSEGV" in crashed["why"]
    assert (used["route"], used["state"]) == ("onnx2tf", "used")
    assert (tmp_path / "tiny.onnx").read_bytes() == model
    assert not leftovers(tmp_path)


MISBEHAVIOUR = {
    # what a back end does: (its code, what the message names)
    "crashes": (SEGFAULT, ("naughty", "SIGSEGV")),
    "exits": ("import os\nos._exit(7)", ("naughty", "7")),
    "calls exit": ("raise SystemExit('enough')", ("naughty", "enough")),
    "says it wrote a file": ("return {'artifact': request['output']}", ("naughty", "0.tflite")),
    "writes rubbish": (
        "open(request['output'], 'wb').write(b'rubbish')\nreturn {'artifact': request['output']}",
        ("naughty", "cannot be read"),
    ),
    "hangs": ("import time\ntime.sleep(60)", ("naughty convert", "longer than 3 s")),
    "wants the network": (
        "import urllib.request\nurllib.request.urlopen('http://192.0.2.1')",
        ("naughty", "no network"),
    ),
    "eats memory": (
        "import time\nkept = bytearray(900_000_000)\ntime.sleep(60)",
        ("naughty convert", "more than 0.7 GB"),
    ),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_forced_route_whose_back_end_misbehaves(tmp_path: Path, what: str) -> None:
    body, says = MISBEHAVIOUR[what]
    save_tiny_onnx(tmp_path / "tiny.onnx")
    env = add_converter(tmp_path / "converters", "naughty", body)
    limits = {"hangs": ("--step-timeout", "3"), "eats memory": ("--step-memory", "0.7")}
    before = snapshot(tmp_path)
    command = ("convert", "tiny.onnx", *SYNTHETIC, "--route", "naughty", *limits.get(what, ()))
    finished = edgekit(tmp_path, *command, env=env)
    assert finished.code == 3, finished.text
    assert "Traceback" not in finished.text
    for words in (says,) if isinstance(says, str) else says:
        assert words in finished.text, finished.text
    assert snapshot(tmp_path) == before


def test_a_back_end_that_changes_its_input_is_found_out(tmp_path: Path) -> None:
    """The sample model must not be converted from what it was not."""
    save_tiny_onnx(tmp_path / "tiny.onnx")
    (tmp_path / "right.tflite").write_bytes(save_tiny_tflite(tmp_path).read_bytes())
    body = f"""
import shutil
with open(request["artifact"], "ab") as stream:
    stream.write(b"\\0")
shutil.copy({str(tmp_path / "right.tflite")!r}, request["output"])
return {{"artifact": request["output"]}}
"""
    env = add_converter(tmp_path / "converters", "writer", body)
    command = ("convert", "tiny.onnx", *SYNTHETIC, "--route", "writer")
    finished = edgekit(tmp_path, *command, env=env)
    assert finished.code == 3, finished.text
    assert "tiny.onnx" in finished.text
    finished = edgekit(tmp_path, *command, "--allow-write", tmp_path, env=env)
    assert finished.code == 3, finished.text
    assert "tiny.onnx changed while it was converted" in finished.text
    assert not (tmp_path / "tiny_tflite").exists()


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--step-timeout", "0.05", ("onnx describe", "longer than 0.05 s")),
        ("--step-memory", "0.01", ("onnx describe", "0.01 GB")),
    ],
)
def test_a_step_past_its_limit_is_named(
    tmp_path: Path, option: str, value: str, says: tuple[str, ...]
) -> None:
    save_tiny_onnx(tmp_path / "tiny.onnx")
    arguments = ("convert", "tiny.onnx", *SYNTHETIC, option, value)
    refusal(tmp_path, *arguments, code=3, says=says, cure=option)
    finished = edgekit(tmp_path, *arguments, "--json")
    assert json.loads(finished.out)["error"]["step"] == "onnx describe"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`edgekit inspect … | head -1` ends without a word."""
    save_tiny_tflite(tmp_path)
    program = f"'{sys.executable}' -m edgekit inspect tiny.tflite --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
