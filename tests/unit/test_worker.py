"""The worker protocol, with real processes and small workers written here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from edgekit.errors import (
    ConversionError,
    DataError,
    ModelError,
    SetupError,
    StepCrashed,
    StepError,
    StepOutOfMemory,
    StepTimeout,
    UsageError,
)
from edgekit.toolchain.bounds import Bounds
from edgekit.toolchain.worker import Worker, tree_memory, write_bytecode

linux = pytest.mark.skipif(sys.platform != "linux", reason="a Linux mechanism")
no_network_filter = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"),
    reason="the filter is for Linux on x86_64 and aarch64",
)


@pytest.fixture
def start(tmp_path):
    """Start a worker from its source; all of them end with the test."""
    with contextlib.ExitStack() as stack:

        def start_one(source: str, **options) -> Worker:
            folder = tmp_path / f"converter{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            program = folder / "worker.py"
            program.write_text(textwrap.dedent(source), encoding="utf-8")
            options.setdefault("bounds", Bounds(write=(tmp_path,), processes=True))
            worker = Worker(
                program,
                python=sys.executable,
                log=tmp_path / "logs" / "worker.log",
                name="fake",
                **options,
            )
            return stack.enter_context(worker)

        yield start_one


class Recorder:
    def __init__(self) -> None:
        self.updates: list[tuple[float, str]] = []

    def step(self, title: str) -> None: ...

    def note(self, message: str) -> None: ...

    def update(self, fraction: float, message: str = "") -> None:
        self.updates.append((fraction, message))


def wait_until(condition, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ------------------------------------------------------------------------- answers


def test_result_progress_cost_and_state(start):
    worker = start("""
        import time
        calls = []

        def work(request, progress):
            progress(0.25, "ein Viertel ✓")
            progress(1)
            calls.append(request["value"])
            time.sleep(0.15)
            return {"calls": calls, "id": request["id"]}
    """)
    progress = Recorder()
    first = worker.call("work", {"value": "größer 𝄞 \udc80"}, progress)
    second = worker.call("work", {"value": {"deep": [1, None, 2.5]}})
    assert progress.updates == [(0.25, "ein Viertel ✓"), (1, "")]
    assert first.result == {"calls": ["größer 𝄞 \udc80"], "id": 1}
    assert second.result["calls"][1:] == [{"deep": [1, None, 2.5]}]
    assert first.seconds >= 0.15
    assert 5 < first.peak_memory_mb < 500


def test_big_requests_and_results(start):
    worker = start("""
        def echo(request, progress):
            for step in range(2000):
                progress(step / 2000, "x" * 100)
            return {"text": request["text"] * 2}
    """)
    text = "äb" * 1_500_000
    progress = Recorder()
    assert worker.call("echo", {"text": text}, progress).result["text"] == text * 2
    assert len(progress.updates) == 2000


def test_peak_memory_includes_what_is_already_freed(start):
    worker = start("""
        def work(request, progress):
            block = bytearray(200_000_000)
            del block
            return {}
    """)
    assert 190 < worker.call("work", {}).peak_memory_mb < 400


def test_peak_memory_is_not_that_of_a_big_parent(start):
    """Linux' ru_maxrss of a new process begins with what its parent had."""
    big = b"x" * 500_000_000
    worker = start("def work(request, progress): return {}")
    assert worker.call("work", {}).peak_memory_mb < 200
    assert len(big) == 500_000_000


# ------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "error", "exit_code"),
    [
        ("model", ModelError, 3),
        ("usage", UsageError, 2),
        ("data", DataError, 6),
        ("setup", SetupError, 5),
        ("conversion", StepError, 3),
        ("no such kind", ConversionError, 3),
    ],
)
def test_worker_errors_become_the_classes_of_their_kind(start, kind, error, exit_code):
    worker = start("""
        from edgekit_worker import WorkerError

        def fail(request, progress):
            raise WorkerError("the cause ü", cure="the cure", kind=request["kind"])

        def fine(request, progress):
            return {"ok": True}
    """)
    with pytest.raises(error) as caught:
        worker.call("fail", {"kind": kind})
    assert type(caught.value) is error
    assert caught.value.exit_code == exit_code
    assert (caught.value.cause, caught.value.cure) == ("the cause ü", "the cure")
    assert caught.value.log == worker.log
    assert "Traceback" in worker.log.read_text()
    if error is StepError:
        assert caught.value.step == "fake fail"
    assert worker.call("fine", {}).result == {"ok": True}, "an error does not end the process"


def test_an_unexpected_exception_is_a_step_error_of_one_line(start):
    worker = start("""
        def fail(request, progress):
            raise RuntimeError("first line\\n" + "second line")
    """)
    with pytest.raises(StepError) as caught:
        worker.call("fail", {})
    assert type(caught.value) is StepError
    assert caught.value.cause == "fake failed: RuntimeError: first line"
    assert "second line" in worker.log.read_text()


def test_disk_full_and_memory_errors_are_recognised(start):
    worker = start("""
        import errno

        def disk(request, progress):
            raise OSError(errno.ENOSPC, "No space left on device", "/out/x")

        def memory(request, progress):
            raise MemoryError
    """)
    with pytest.raises(SetupError, match="disk is full") as caught:
        worker.call("disk", {})
    assert "Free some space" in caught.value.cure
    with pytest.raises(StepOutOfMemory):
        worker.call("memory", {})


def test_a_worker_that_cannot_be_imported(start):
    worker = start("import a_module_that_is_nowhere")
    for _ in range(2):
        with pytest.raises(StepError, match="No module named 'a_module_that_is_nowhere'"):
            worker.call("convert", {})


@pytest.mark.parametrize("verb", ["_private", "__init__", "missing", "constant"])
def test_only_public_functions_are_verbs(start, verb):
    worker = start("""
        constant = 3

        def _private(request, progress):
            return {"reached": True}
    """)
    with pytest.raises(StepError, match=f"no verb '{verb}'"):
        worker.call(verb, {})


@pytest.mark.parametrize(
    ("value", "words"),
    [("None", "not a dictionary"), ("[1]", "not a dictionary"), ("{'a': object()}", "JSON")],
)
def test_results_that_are_none_are_named(start, value, words):
    worker = start(f"""
        def work(request, progress):
            return {value}

        def fine(request, progress):
            return {{}}
    """)
    with pytest.raises(StepError, match=words):
        worker.call("work", {})
    assert worker.call("fine", {}).result == {}


def test_exit_inside_a_back_end_is_an_error_with_its_code(start):
    worker = start("""
        import sys

        def work(request, progress):
            sys.exit("giving up")
    """)
    with pytest.raises(StepError, match="SystemExit: giving up"):
        worker.call("work", {})
    with pytest.raises(StepCrashed, match="ended"):
        worker.call("work", {})


# ------------------------------------------------------------------------- crashes


def test_a_segmentation_fault_is_named(start):
    worker = start("""
        import ctypes

        def work(request, progress):
            print("last words", flush=True)
            ctypes.string_at(0)
    """)
    with pytest.raises(StepCrashed, match="SIGSEGV") as caught:
        worker.call("work", {})
    assert caught.value.log == worker.log
    assert "last words" in worker.log.read_text()
    with contextlib.suppress(StepCrashed, ValueError):  # dead, and no hang
        worker.call("work", {})


def test_another_route_is_advised_for_conversions_only(start):
    cures = []
    for verb in ("convert", "quantize"):
        worker = start(f"""
            import ctypes

            def {verb}(request, progress):
                ctypes.string_at(0)
        """)
        with pytest.raises(StepCrashed) as caught:
            worker.call(verb, {})
        cures.append(caught.value.cure)
    assert ["--route" in cure for cure in cures] == [True, False]


def test_native_code_that_does_not_come_back_is_ended_in_time(start):
    worker = start(
        """
        import time
        from edgekit_worker import in_time

        def load(request, progress):
            with in_time(request["seconds"]):
                time.sleep(request["takes"])
            return {}
        """
    )
    assert worker.call("load", {"seconds": 60, "takes": 0}).result == {}
    with pytest.raises(StepCrashed, match="end of the file in the time") as caught:
        worker.call("load", {"seconds": 0.1, "takes": 60})
    assert "damaged" in caught.value.cure


def test_a_crash_is_seen_although_a_forked_child_holds_the_pipe(start):
    worker = start(
        """
        import ctypes, os, time

        def work(request, progress):
            if os.fork() == 0:
                time.sleep(600)  # past the limit: who waits for the pipe to close times out
            ctypes.string_at(0)
        """,
        seconds=60,
    )
    with pytest.raises(StepCrashed, match="SIGSEGV"):
        worker.call("work", {})


def test_a_worker_that_closes_its_pipe_and_lives_on_is_ended(start, monkeypatch):
    monkeypatch.setattr("edgekit.toolchain.worker._LAST_SECONDS", 0.3)
    worker = start(
        """
        import os, time

        def work(request, progress):
            os.closerange(3, 4096)
            time.sleep(600)  # past the limit
        """,
        seconds=30,
    )
    with pytest.raises(StepCrashed):
        worker.call("work", {})


def test_a_python_that_does_not_start(tmp_path):
    program = tmp_path / "worker.py"
    program.write_text("")
    before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    with pytest.raises(SetupError) as caught:
        Worker(program, python=str(tmp_path / "gone"), log=tmp_path / "log", name="fake")
    assert "edgekit toolchain install fake" in caught.value.cure
    if sys.platform == "linux":
        assert len(list(Path("/proc/self/fd").iterdir())) == before, "descriptors leak"


# ------------------------------------------------------------------------- limits

FAMILY = """
    import os, subprocess, sys, time

    GRANDCHILD = "import time; time.sleep(120)"
    CHILD = (
        "import subprocess, sys, time;"
        f"print(subprocess.Popen([sys.executable, '-c', {GRANDCHILD!r}]).pid, flush=True);"
        "time.sleep(120)"
    )

    def work(request, progress):
        child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
        grandchild = int(child.stdout.readline())
        progress(0.5, f"{os.getpid()} {child.pid} {grandchild}")
        time.sleep(120)
"""


def test_a_timeout_ends_the_whole_family(start):
    worker = start(FAMILY, seconds=3)
    progress = Recorder()
    with pytest.raises(StepTimeout, match="3 s") as caught:
        worker.call("work", {}, progress)
    assert "--step-timeout" in caught.value.cure
    assert caught.value.step == "fake work"
    pids = [int(word) for word in progress.updates[0][1].split()]
    assert len(pids) == 3
    assert wait_until(lambda: not any(map(alive, pids))), pids


def test_the_time_limit_is_per_call(start):
    worker = start(
        """
        import time

        def work(request, progress):
            time.sleep(0.5)
            return {}
        """,
        seconds=1.6,
    )
    for _ in range(4):
        worker.call("work", {})


@pytest.mark.parametrize("where", ["itself", "child"])
def test_the_memory_limit_holds_for_the_tree(start, where):
    source = """
        import subprocess, sys, time

        HOG = '''
        import time
        blocks = []
        while True:
            blocks.append(bytearray(8 << 20))
            time.sleep(0.01)
        '''

        def itself(request, progress):
            exec(HOG)

        def child(request, progress):
            subprocess.run([sys.executable, "-c", HOG], check=True)
    """
    worker = start(textwrap.dedent(source), seconds=60, memory_gb=0.3)
    pid = worker._process.pid
    children: list[int] = []

    def watch() -> None:
        with contextlib.suppress(psutil.Error):
            while True:
                children[:] = [child.pid for child in psutil.Process(pid).children()] or children
                time.sleep(0.1)

    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(StepOutOfMemory, match=r"0\.3 GB") as caught:
        worker.call(where, {})
    assert "--step-memory" in caught.value.cure
    assert not alive(pid)
    assert bool(children) == (where == "child")
    assert wait_until(lambda: not any(map(alive, children)))


def test_tree_memory_of_nobody_is_nothing():
    assert tree_memory(2**22 + 7) == 0
    assert tree_memory(os.getpid()) > 10_000_000


@linux
def test_a_killed_parent_takes_its_worker_along(tmp_path):
    program = tmp_path / "worker.py"
    program.write_text(
        "import os, time\n"
        "def work(request, progress):\n"
        "    progress(0, str(os.getpid()))\n"
        "    time.sleep(120)\n"
    )
    parent_code = f"""
from pathlib import Path
import sys
from edgekit.toolchain.worker import Worker
class Show:
    def update(self, fraction, message=""): print(message, flush=True)
worker = Worker(Path({str(program)!r}), python=sys.executable,
                log=Path({str(tmp_path / "log")!r}), name="fake")
worker.call("work", {{}}, Show())
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert wait_until(lambda: not alive(pid))


def test_leaving_the_context_ends_the_process(start):
    worker = start("def work(request, progress): return {}")
    worker.call("work", {})
    pid = worker._process.pid
    assert alive(pid)
    worker.close()
    assert not alive(pid)
    worker.close()  # twice does no harm


# ------------------------------------------------------------------------- network


@pytest.fixture
def server():
    """A port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


CONNECTING = """
    import socket, subprocess, sys

    CODE = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"

    def own(request, progress):
        try:
            socket.create_connection(("127.0.0.1", request["port"]), 5).close()
        except OSError as error:
            return {"error": type(error).__name__, "text": str(error)}
        return {"error": None}

    def child(request, progress):
        answer = subprocess.run([sys.executable, "-c", CODE, str(request["port"])],
                                capture_output=True, text=True)
        return {"code": answer.returncode, "text": answer.stderr}

    def six(request, progress):
        try:
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        except OSError as error:
            return {"error": type(error).__name__}
        return {"error": None}

    def resolve(request, progress):
        try:
            socket.getaddrinfo("example.org", 80)
        except OSError as error:
            return {"error": type(error).__name__, "text": str(error)}
        return {"error": None}

    def unix(request, progress):
        one, two = socket.socketpair()
        one.send(b"hello")
        try:
            socket.socket(socket.AF_UNIX)
        except OSError as error:
            return {"got": two.recv(5).decode(), "error": type(error).__name__}
        return {"error": None}
"""


@no_network_filter
def test_no_network_for_the_worker_and_its_children(start, server):
    worker = start(CONNECTING)
    assert worker.call("own", {"port": server}).result["error"] == "PermissionError"
    child = worker.call("child", {"port": server}).result
    assert child["code"] != 0
    assert "PermissionError" in child["text"]
    assert worker.call("six", {}).result["error"] == "PermissionError"
    resolved = worker.call("resolve", {}).result
    assert resolved["error"] == "PermissionError"
    assert "no network in a conversion step" in resolved["text"]
    # A socket of its own making goes nowhere; one by name may lead to ssh-agent or Docker.
    assert worker.call("unix", {}).result == {"got": "hello", "error": "PermissionError"}


def test_network_where_it_is_allowed(start, server, monkeypatch):
    worker = start(CONNECTING, bounds=Bounds(network=True, processes=True))
    assert worker.call("own", {"port": server}).result["error"] is None
    assert worker.call("child", {"port": server}).result["code"] == 0


def test_the_users_variable_allows_nothing(start, server, monkeypatch):
    monkeypatch.setenv("EDGEKIT_BOUNDS", '{"network": true}')
    worker = start(CONNECTING)
    assert worker.call("own", {"port": server}).result["error"] == "PermissionError"


# ------------------------------------------------------------------------- streams


def test_what_is_printed_goes_to_the_log_and_disturbs_nothing(start):
    worker = start("""
        import os, subprocess, sys

        def work(request, progress):
            print("printed ✓")
            print('{"id": 1, "event": "result", "result": {"forged": true}}')
            sys.stderr.write("to the error stream\\n")
            os.write(1, b"\\xff\\xfe raw \\x00 bytes\\n")
            subprocess.run([sys.executable, "-c", "print('from a child')"])
            return {"forged": False}
    """)
    assert worker.call("work", {}).result == {"forged": False}
    log = worker.log.read_bytes()
    for text in ("printed ✓", "forged", "to the error stream", "from a child"):
        assert text.encode() in log
    assert b"\xff\xfe raw \x00 bytes" in log


def test_printing_works_in_any_locale(start, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    worker = start("""
        def work(request, progress):
            print("→ ✓ \\udc80")
            return {}
    """)
    worker.call("work", {})
    assert "→ ✓" in worker.log.read_text(encoding="utf-8", errors="replace")


def test_code_that_asks_the_user_gets_an_end_of_file(start):
    worker = start("""
        import subprocess, sys

        def work(request, progress):
            try:
                answer = input("Continue? ")
            except EOFError:
                answer = None
            code = "import sys; sys.exit(len(sys.stdin.read()))"
            child = subprocess.run([sys.executable, "-c", code])
            return {"answer": answer, "child": child.returncode}
    """)
    assert worker.call("work", {}).result == {"answer": None, "child": 0}
    assert worker.call("work", {}).result == {"answer": None, "child": 0}


def test_the_events_pipe_is_not_handed_to_children(start):
    worker = start("""
        import os, subprocess, sys

        def work(request, progress):
            code = "import os; print(sorted(os.listdir('/proc/self/fd')))"
            answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                                    close_fds=False)
            return {"variable": os.environ.get("EDGEKIT_EVENTS_FD"), "open": answer.stdout}
    """)
    result = worker.call("work", {}).result
    assert result["variable"] is None
    if sys.platform == "linux":
        assert len(json.loads(result["open"].replace("'", '"'))) <= 4  # 0, 1, 2, the listing's


# ------------------------------------------------------------------------- environment

WHERE = """
    import os, sys

    def work(request, progress):
        return {"path": sys.path, "environment": dict(os.environ)}
"""


def test_a_host_worker_finds_the_users_modules_as_python_m_does(start, tmp_path, monkeypatch):
    place = tmp_path / "project"
    place.mkdir()
    (place / "users_module.py").write_text("VALUE = 7\n")
    monkeypatch.chdir(place)
    worker = start("""
        def work(request, progress):
            import users_module
            return {"value": users_module.VALUE}
    """)
    assert worker.call("work", {}).result == {"value": 7}


def test_an_isolated_worker_does_not_see_the_users_python(start, tmp_path, monkeypatch):
    (tmp_path / "users_module.py").write_text("VALUE = 7\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    result = start(WHERE, isolated=True).call("work", {}).result
    assert str(tmp_path) not in result["path"]
    assert "VIRTUAL_ENV" not in result["environment"]
    assert result["environment"]["PYTHONNOUSERSITE"] == "1"
    assert result["environment"]["PATH"].startswith(str(Path(sys.executable).parent))


def test_the_folders_of_converters_are_no_packages_to_a_worker(start):
    """``converters/torch`` must not make ``import torch`` succeed where there is no torch."""
    from edgekit.toolchain.converters import builtin_folder

    worker = start(WHERE, isolated=True)
    assert str(builtin_folder()) not in worker.call("work", {}).result["path"]


def test_a_worker_imports_the_modules_beside_it_and_the_protocol(start, tmp_path):
    worker = start("""
        import edgekit_worker
        import helper

        def work(request, progress):
            return {"helper": helper.NAME, "main": edgekit_worker.__name__}
    """)
    (next(tmp_path.glob("converter*")) / "helper.py").write_text("NAME = 'beside'\n")
    worker.close()
    again = Worker(
        next(tmp_path.glob("converter*")) / "worker.py",
        python=sys.executable,
        log=tmp_path / "log",
        name="fake",
    )
    with again:
        assert again.call("work", {}).result == {"helper": "beside", "main": "__main__"}


# ------------------------------------------------------------------------- bytecode


def test_missing_bytecode_is_written_once_before_a_worker_starts(tmp_path, monkeypatch):
    """A contained worker cannot write it, and would compile all that it imports at each start."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    package = tmp_path / "a_framework"
    package.mkdir()
    (package / "__init__.py").write_text("from a_framework import inside\n")
    (package / "inside.py").write_text("value = 1\n")
    program = tmp_path / "worker.py"
    program.write_text("import a_framework\nopen('ran', 'w')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for modules in (["a_framework"], []):
        write_bytecode(program, modules)
    written = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")}
    assert written == {"__init__", "inside", "worker"}
    (tmp_path / "ran").unlink()
    for modules in (["a_framework"], [], ["no_such_module", "json"]):
        write_bytecode(program, modules)
    assert not (tmp_path / "ran").exists(), "all was there: nothing is imported"
    (package / "__init__.py").write_text("# another version\n")
    write_bytecode(program, ["a_framework"])
    assert (tmp_path / "ran").exists()
