"""What a contained process can do, tried by Python and by the C library, in processes of their own.

The oracle is the disk, and the answers of the kernel to the C library: no message of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from quantize_nets import Net

import edgekit
from edgekit.errors import ConversionError, StepError
from edgekit.toolchain.bounds import Bounds, files_of
from edgekit.toolchain.converters import builtin_folder
from edgekit.toolchain.doctor import examine
from edgekit.toolchain.worker import Worker
from edgekit.types import ModelSource

FILTERED = sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64")
ATTEMPTS = """
import ctypes, json, os, socket, sys, threading
sys.path.insert(0, {converters!r})
import edgekit_bubblewrap as bubblewrap
import edgekit_containment as containment
from pathlib import Path

work, outside, abi = Path({work!r}), Path({outside!r}), {abi!r}
if abi is not None:
    containment.landlock_abi = lambda: abi
libc = ctypes.CDLL(None, use_errno=True)

def native(path, flags):
    descriptor = libc.open(os.fsencode(path), flags, 0o600)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0

def forked():
    child = libc.fork()
    if child == 0:
        os._exit(0)
    return child > 0

def thread():
    said = []
    one = threading.Thread(target=lambda: said.append(True))
    one.start()
    one.join()
    return said == [True]

def moved():
    (work / "a").mkdir()
    (work / "a" / "file").write_text("moved")
    (work / "a" / "file").replace(work / "file")
    return (work / "file").read_text() == "moved" and not (work / "a" / "file").exists()

def tried(function, *arguments):
    try:
        return bool(function(*arguments))
    except OSError as error:
        return f"{{type(error).__name__}}: {{error}}"

write = os.O_WRONLY | os.O_CREAT
bounds = containment.Confinement(**{bounds!r})
if {bwrap!r}:
    bubblewrap.start_again(bounds, work / "worker.py")
containment.contain(bounds, work / "worker.py")
print(json.dumps({{
    "own file": tried(native, work / "new", write),
    "moving": tried(moved),
    "thread": tried(thread),
    "system library": tried(native, "/proc/self/status", os.O_RDONLY),
    "writing": tried(native, outside / "new", write),
    "reading": tried(native, outside / "there", os.O_RDONLY),
    "truncating": tried(lambda: libc.truncate(os.fsencode(outside / "there"), 0) == 0),
    "linking": tried(lambda: libc.symlink(b"/etc/passwd", os.fsencode(work / "link")) == 0),
    "moving out": tried(
        lambda: libc.rename(os.fsencode(work / "new"), os.fsencode(outside / "new")) == 0),
    "mode": tried(lambda: libc.chmod(os.fsencode(outside / "there"), 0o777) < 0),
    "python": tried(lambda: (outside / "python").write_text("x")),
    "network": tried(lambda: libc.socket(2, 1, 0) >= 0),
    "unix": tried(lambda: libc.socket(1, 1, 0) >= 0),
    "programs": tried(forked),
    "parent": tried(native, "/proc/{parent}/environ", os.O_RDONLY),
}}))
"""


def kernel_abi() -> int:
    code = "import edgekit_containment; print(edgekit_containment.landlock_abi())"
    return int(
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=builtin_folder(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


ABI = kernel_abi()
landlock = pytest.mark.skipif(ABI == 0, reason="this kernel has no Landlock")


def bubblewrap_works() -> bool:
    command = ["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "/bin/true"]
    return bool(shutil.which("bwrap")) and not subprocess.run(command, check=False).returncode


bubblewrap = pytest.mark.skipif(
    not bubblewrap_works(), reason="no Bubblewrap that works here (Debian package: bubblewrap)"
)


def attempts(
    tmp_path: Path, *, abi: int | None = None, bwrap: bool = False, **bounds
) -> dict[str, object]:
    """What a process could do after it was contained; the folders are `work` and `outside`."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    for folder in (work, outside):
        folder.mkdir()
    (outside / "there").write_text("secret")
    (outside / "there").chmod(0o600)
    told = {"write": (str(work),), "read": (), "code": False, **bounds}
    values = {"work": str(work), "outside": str(outside), "abi": abi, "bounds": told}
    values |= {"bwrap": bwrap, "parent": os.getpid()}
    code = ATTEMPTS.format(converters=str(builtin_folder()), **values)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


NEVER = ("writing", "reading", "linking", "moving out", "programs", "network", "unix", "parent")


@landlock
@pytest.mark.skipif(not FILTERED, reason="the filter is for Linux on x86-64 and aarch64")
@pytest.mark.parametrize("abi", range(1, ABI + 1))
def test_a_contained_process_works_and_reaches_nothing(tmp_path, abi):
    done = attempts(tmp_path, abi=abi)
    for own in ("own file", "moving", "thread", "system library"):
        assert done[own] is True, done
    assert not any(done[one] is True for one in NEVER), done
    assert "wanted" in str(done["python"])
    assert done["mode"] is False, "chmod says that it is done"
    there = tmp_path / "outside" / "there"
    assert there.stat().st_mode & 0o777 == 0o600, "and nothing was changed"
    assert [path.name for path in there.parent.iterdir()] == ["there"]
    if abi >= 3:  # before, Landlock does not know of truncate(2)
        assert there.read_text() == "secret"


@landlock
def test_everything_may_be_read_where_the_users_own_code_runs(tmp_path):
    done = attempts(tmp_path, read=None, code=True)
    assert done["reading"] is True
    assert done["writing"] is False


def test_without_landlock_python_is_held_back_and_native_code_is_not(tmp_path):
    done = attempts(tmp_path, abi=0)
    assert "wanted" in str(done["python"])
    assert not (tmp_path / "outside" / "python").exists()
    assert done["writing"] is True
    if FILTERED:
        assert done["linking"] is False
        assert done["network"] is False
        assert done["programs"] is False


@bubblewrap
@pytest.mark.parametrize("code", [False, True])
def test_without_landlock_bubblewrap_holds_files(tmp_path, code):
    done = attempts(tmp_path, abi=0, bwrap=True, read=None if code else (), code=code)
    for own in ("own file", "moving", "thread", "system library"):
        assert done[own] is True, done
    assert done["reading"] is code
    for one in ("writing", "linking", "moving out", "truncating", "parent"):
        assert done[one] is not True, done
    assert "wanted" in str(done["python"])
    there = tmp_path / "outside" / "there"
    assert there.read_text() == "secret"
    assert there.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in there.parent.iterdir()] == ["there"]
    assert (tmp_path / "work" / "new").exists(), "its own folder is the real one"


@landlock
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no other file system to write to")
def test_a_work_folder_on_another_file_system(tmp_path):
    folder = Path("/dev/shm") / f"edgekit-test-{os.getpid()}"
    folder.mkdir()
    try:
        done = attempts(folder)
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert done["own file"] is True
    assert done["moving"] is True
    assert done["writing"] is False


# --------------------------------------------------------------------------------- a worker

WORKER = """
import os, tempfile
from pathlib import Path

def write(request, progress):
    Path(request["path"]).write_text("x")
    return {}

def caches(request, progress):
    home = Path.home()
    if request["home"]:
        home.joinpath(".cache").mkdir()
    with tempfile.NamedTemporaryFile() as stream:
        return {"home": str(home), "here": [stream.name, os.environ["MPLCONFIGDIR"]]}

def names(request, progress):
    return {"artifact": request["path"]}
"""


@pytest.fixture
def start(tmp_path):
    program = tmp_path / "converter" / "worker.py"
    program.parent.mkdir()
    program.write_text(textwrap.dedent(WORKER))
    (tmp_path / "work").mkdir()

    def start_one(**options) -> Worker:
        bounds = Bounds(**{"write": (tmp_path / "work",), **options})
        return Worker(
            program, python=sys.executable, log=tmp_path / "log", name="fake", bounds=bounds
        )

    return start_one


def test_a_refused_write_names_the_path_and_what_would_allow_it(start, tmp_path):
    path = tmp_path / "elsewhere" / "file"
    path.parent.mkdir()
    with start() as worker, pytest.raises(StepError) as caught:
        worker.call("write", {"path": str(path)})
    assert str(path) in caught.value.cause
    assert caught.value.cure == f"If you trust the model: --allow-write {path.parent}"
    assert not path.exists()
    with start(write=(tmp_path / "work", path.parent)) as worker:  # the cure cures
        worker.call("write", {"path": str(path)})
    assert path.read_text() == "x"


@pytest.mark.parametrize("code", [False, True])
def test_caches_and_temporary_files_have_a_place(start, tmp_path, code):
    scratch = tmp_path / "work" / "scratch"
    scratch.mkdir()
    with start(scratch=scratch, code=code, read=None if code else ()) as worker:
        found = worker.call("caches", {"home": not code}).result
    assert all(Path(place).is_relative_to(scratch) for place in found["here"])
    assert found["home"] == str(Path.home() if code else scratch)


def test_an_answer_may_only_name_files_of_the_worker(start, tmp_path):
    (tmp_path / "secret").write_text("mine")
    with start() as worker:
        own = str(tmp_path / "work" / "file")
        assert worker.call("names", {"path": own}).result == {"artifact": own}
        for path in (tmp_path / "secret", tmp_path / "work" / ".." / "secret", "/etc/passwd"):
            with pytest.raises(ConversionError, match="not its own"):
                worker.call("names", {"path": str(path)})


def test_the_files_of_a_model(tmp_path):
    onnx = pytest.importorskip("onnx")
    names = ["net.data", "parts/" + "w" * 150, "../secret", "/etc/passwd", "in the/../same"]
    tensors = []
    for name in names:
        tensor = onnx.TensorProto(name=name, data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=name)
        tensor.external_data.add(key="offset", value="0")
        tensors.append(tensor)
    graph = onnx.helper.make_graph([], "location", [], [], initializer=tensors)
    (tmp_path / "net.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    source = ModelSource(location=str(tmp_path / "net.onnx"), kind="onnx", name="net")
    model, *beside = files_of(source)
    assert model == tmp_path / "net.onnx"
    assert {str(path.relative_to(tmp_path)) for path in beside} == {names[0], names[1], names[4]}
    keras = ModelSource(location=str(tmp_path / "net.keras"), kind="keras", name="net")
    assert files_of(keras) == (tmp_path / "net.keras",)


WITHOUT_LANDLOCK = """
import sys
sys.path.insert(0, {converters!r})
import edgekit_containment
edgekit_containment.landlock_abi = lambda: 0
import runpy
sys.argv = [{launcher!r}, *sys.argv[1:]]
runpy.run_path({launcher!r}, run_name="__main__")
"""


@pytest.fixture
def without_landlock(tmp_path, monkeypatch):
    """Workers start as on a kernel that has none."""
    place = tmp_path / "without_landlock.py"
    folder = builtin_folder()
    values = {"converters": str(folder), "launcher": str(folder / "edgekit_worker.py")}
    place.write_text(WITHOUT_LANDLOCK.format(**values))
    monkeypatch.setattr("edgekit.toolchain.worker.launcher", lambda: place)


@bubblewrap
def test_a_worker_under_bubblewrap(without_landlock, start, tmp_path):
    path = tmp_path / "elsewhere" / "file"
    path.parent.mkdir()
    scratch = tmp_path / "work" / "scratch"
    scratch.mkdir()
    with start(read=(), code=False, scratch=scratch) as worker:
        found = worker.call("caches", {"home": True}).result
        assert all(Path(place).is_relative_to(scratch) for place in found["here"])
        with pytest.raises(StepError, match="wanted") as caught:
            worker.call("write", {"path": str(path)})
        assert caught.value.cure == f"If you trust the model: --allow-write {path.parent}"
        pids = [
            worker._process.pid,
            *(one.pid for one in psutil.Process(worker._process.pid).children(True)),
        ]
    assert not any(psutil.pid_exists(pid) and not is_dead(pid) for pid in pids)
    with start(write=(tmp_path / "work", path.parent)) as worker:  # the cure cures
        worker.call("write", {"path": str(path)})
    assert path.read_text() == "x"


@bubblewrap
def test_a_validation_under_bubblewrap(without_landlock, tmp_path):
    net = Net(1, 8, 8, 3)
    model = net.save(tmp_path / "net.tflite", net.conv(net.image, "out", 4))
    data = tmp_path / "data.npz"
    np.savez(data, image=np.random.default_rng(0).random((20, 8, 8, 3), np.float32))
    for _ in range(2):  # the second one finds the reference's outputs in the cache
        result = edgekit.validate(model, reference=model, data=data, latency=False, worst=0)
        assert result.candidates[0].state() == "pass"


def is_dead(pid: int) -> bool:
    """Whether it is gone, or will be as soon as its parent looks; it may take a moment."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("installed", [True, False])
def test_the_doctor_without_landlock(without_landlock, monkeypatch, installed):
    if not installed:
        monkeypatch.setenv("PATH", "/nowhere")
    elif not bubblewrap_works():
        pytest.skip("no Bubblewrap that works here (Debian package: bubblewrap)")
    (check,) = [one for one in examine() if one.name == "containment of models"]
    if installed and FILTERED:
        assert check.state == "ok"
        assert "Bubblewrap" in check.found
    else:
        assert check.state == "optional"
        assert "writing, reading" in check.found
        assert "bubblewrap" in check.cure


def test_the_doctor_has_tried(monkeypatch):
    (check,) = [one for one in examine() if one.name == "containment of models"]
    if ABI and FILTERED:
        assert check.state == "ok"
        assert f"Landlock {ABI}" in check.found
    else:
        assert "writing" in check.found
        assert check.cure


BESIDE_AN_ACCELERATOR = """
import ctypes, json, os, socket, sys
sys.path.insert(0, {converters!r})
import edgekit_containment as containment
from pathlib import Path

listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listening.bind({address!r})
containment.accelerators = lambda: frozenset({{"/dev/null"}})
containment.contain(containment.Confinement(write=({work!r},)), Path({work!r}) / "worker.py")

def tried(function):
    try:
        return function() or True
    except OSError:
        return False

libc = ctypes.CDLL(None)
here, there = socket.socketpair()
silent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print(json.dumps({{
    "own name": libc.open(f"/proc/self/task/{{os.getpid()}}/comm".encode(), os.O_WRONLY) >= 0,
    "bind": tried(lambda: silent.bind("")),
    "pair": tried(lambda: here.send(b"x")),
    "connect": tried(lambda: silent.connect({address!r})),
    "send": tried(lambda: silent.sendto(b"x", {address!r})),
    "message": tried(lambda: silent.sendmsg([b"x"], [], 0, {address!r})),
    "internet": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
}}, default=bool))
"""


@landlock
@pytest.mark.skipif(not FILTERED, reason="no filter of system calls here")
def test_what_cuda_needs_to_start_speaks_to_nobody(tmp_path):
    """It names its threads and makes a Unix socket; seen on an NVIDIA H200."""
    work = tmp_path / "work"
    work.mkdir()
    code = BESIDE_AN_ACCELERATOR.format(
        converters=str(builtin_folder()), work=str(work), address=str(tmp_path / "socket")
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    could = json.loads(result.stdout)
    assert {name for name, done in could.items() if done} == {"own name", "bind", "pair"}
