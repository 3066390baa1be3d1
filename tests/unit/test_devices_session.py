"""The host's end against devices that are broken, slow or hostile: small programs, no runtime."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path

import pytest

from edgekit.devices.agent import frames
from edgekit.devices.link import Link
from edgekit.devices.session import DeviceLimits, Session
from edgekit.errors import (
    ConversionError,
    DeviceBusy,
    DeviceError,
    DeviceLost,
    DeviceUnreachable,
)

START = f"""
import sys, time, os, struct, json
sys.path.insert(0, {str(Path(frames.__file__).parent)!r})
from frames import LENGTHS, encode
source = open(0, "rb", 0, closefd=False)
def whole(count):
    data = b""
    while len(data) < count:
        part = source.read(count - len(data))
        if not part:
            sys.exit(3)
        data += part
    return data
def say(text):
    os.write(1, text if isinstance(text, bytes) else text.encode())
def request():
    sizes = LENGTHS.unpack(whole(8))
    return json.loads(whole(sizes[0])), whole(sizes[1])
def answer(header, payload=b""):
    say(encode(header, len(payload)) + payload)
def greet():
    source.readline(); source.readline()
    say("Welcome!\\nEDGEKIT-AGENT have\\n\\nEDGEKIT-AGENT ready\\n")
def hello():
    greet()
    header, _ = request()
    answer({{"ok": True, "protocol": 1, "machine": "toaster"}})
    for _ in range(2):
        request(); answer({{"ok": True}})
"""
LIMITS = DeviceLimits(connect=30, silence=3, step=4)


@pytest.fixture(autouse=True)
def two_probes(monkeypatch):
    """As many as the devices here answer; on a busy machine more would be sent."""
    monkeypatch.setattr("edgekit.devices.session._SLOW", 0)


@pytest.fixture
def device(tmp_path):
    """Makes the link to a device that runs some code."""

    def link(code: str) -> Link:
        path = tmp_path / "device.py"
        path.write_text(START + textwrap.dedent(code), encoding="utf-8")
        return Link(
            words="toaster", argv=(sys.executable, str(path)), failure=lambda code, text: None
        )

    return link


def test_a_polite_device(device):
    with Session(
        device('hello(); request(); answer({"ok": True, "x": 1}, b"12")'), limits=LIMITS
    ) as s:
        assert s.facts.machine == "toaster"
        answer = s.call({"verb": "x"}, limit=2)
        assert (answer.header["x"], answer.payload) == (1, b"12")


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("source.readline(); say('x' * 100_000)", DeviceUnreachable, "closed the connection"),
        ("source.readline(); time.sleep(30)", DeviceUnreachable, "does not answer"),
        ("say('EDGEKIT-AGENT old 2.7\\n')", DeviceUnreachable, "Python 2.7"),
        ("say('EDGEKIT-AGENT \\x1b[2J\\n')", DeviceUnreachable, "fails"),
        ("greet(); sys.exit(1)", DeviceLost, "vanished"),
        ("greet(); request(); answer({'ok': True, 'protocol': 99})", DeviceError, "version"),
        (
            "greet(); request(); answer({'kind': 'busy', 'cause': 'used by ann'})",
            DeviceBusy,
            "used by ann",
        ),
    ],
)
def test_no_session(device, code, error, words):
    # A short limit only for what never answers: Python itself may start slowly.
    connect = 1.5 if "sleep" in code else 30
    with pytest.raises(error, match=words):
        Session(device(code), limits=DeviceLimits(connect=connect, silence=10, step=10))


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("sys.exit(0)", DeviceLost, "vanished"),
        ("request(); time.sleep(30)", DeviceLost, "silent for 3 s"),
        (
            """
            request()
            for _ in range(100):
                answer({"beat": 3}); time.sleep(0.2)
            """,
            DeviceLost,
            "has finished nothing for 4 s",
        ),
        (
            "request(); sys.stderr.write('Fatal Python error: Segmentation fault'); sys.exit(1)",
            ConversionError,
            "crashed: Segmentation fault",
        ),
        ("say(LENGTHS.pack(1 << 31, 0)); time.sleep(9)", DeviceError, "no agent of edgekit"),
        ("say(LENGTHS.pack(2, 1 << 31) + b'{}'); time.sleep(9)", DeviceError, "no agent"),
        ("say(LENGTHS.pack(2, 0) + b'[]'); time.sleep(9)", DeviceError, "no agent"),
        ("answer({'ok': True}, b'x' * 100_000); time.sleep(9)", DeviceError, "asked for"),
        ("request(); answer({'ok': 1})", DeviceError, "no reason given"),
        ("request(); answer({'kind': 'model', 'cause': '\\x1bop 12'})", ConversionError, "op 12"),
        ("request(); answer({'kind': 'full', 'cause': 'disk'})", DeviceError, "disk"),
    ],
)
def test_a_session_that_breaks(device, code, error, words):
    with Session(device("hello()\n" + textwrap.dedent(code)), limits=LIMITS) as session:
        with pytest.raises(error, match=words) as caught:
            session.call({"verb": "x"})
        assert "\x1b" not in str(caught.value)


def test_slow_work_is_no_hang(device):
    code = """
    hello(); request()
    for done in range(10):
        answer({"beat": done}); time.sleep(0.5)
    answer({"ok": True})
    """
    with Session(device(code), limits=LIMITS) as session:
        session.call({"verb": "x"})


def test_a_device_that_talks_without_end_fills_no_memory(device):
    code = "hello()\nwhile True: answer({'beat': 1}, b'x' * 60_000)"
    with Session(device(code), limits=LIMITS) as session:
        with pytest.raises(DeviceLost):
            session.call({"verb": "x"})
        assert len(session._pipe._incoming) < 20_000_000


def test_after_a_refusal_in_a_stream_the_session_goes_on(device):
    code = """
    hello()
    while True:
        header, _ = request()
        if header["n"] == 1:
            answer({"kind": "model", "cause": "no"})
        else:
            answer({"ok": True, "n": header["n"]})
    """
    from edgekit.devices.session import Request

    with Session(device(code), limits=LIMITS) as session:
        with pytest.raises(ConversionError):
            list(session.stream(Request({"n": n}) for n in range(5)))
        assert session.call({"n": 7}).header["n"] == 7


def test_large_requests_and_answers_do_not_wait_for_each_other(device):
    code = """
    hello()
    for _ in range(4):
        header, payload = request()
        answer({"ok": True}, payload)
    """
    from edgekit.devices.session import Request

    data = bytes(3_000_000)
    with Session(device(code), limits=LIMITS) as session:
        answers = list(session.stream(Request({"n": n}, data, len(data)) for n in range(4)))
        assert [answer.payload for answer in answers] == [data] * 4


def test_the_program_is_ended_with_all_that_it_started(device, tmp_path):
    code = f"""
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
    hello(); time.sleep(60)
    """
    with Session(device(code), limits=LIMITS) as session, pytest.raises(DeviceLost):
        session.call({"verb": "x"})
    import psutil

    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie":
            return
        time.sleep(0.1)
    pytest.fail("the child lives")
