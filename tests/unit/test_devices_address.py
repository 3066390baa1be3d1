"""Addresses of devices, and the command lines that are made of them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices.adb import AGENT_COMMAND, adb_command, adb_failure
from edgekit.devices.address import (
    AdbAddress,
    ExecAddress,
    LocalAddress,
    SshAddress,
    WebAddress,
    parse_address,
)
from edgekit.devices.parcel import COMMAND
from edgekit.devices.ssh import ssh_command, ssh_failure
from edgekit.errors import UsageError


def test_the_forms():
    assert parse_address("local") == LocalAddress()
    assert parse_address("ssh://pi@board.local:2222") == SshAddress(
        user="pi", host="board.local", port=2222
    )
    assert parse_address("ssh://board") == SshAddress(host="board")
    assert parse_address("ssh://pi@[fe80::1%eth0]:22") == SshAddress(
        user="pi", host="fe80::1%eth0", port=22
    )
    assert parse_address("ssh://board:22/opt/venv/bin/python") == SshAddress(
        host="board", port=22, python="/opt/venv/bin/python"
    )
    home = parse_address("ssh://board/~/venv/bin/python")
    assert home == SshAddress(host="board", python="~/venv/bin/python")
    assert str(home) == "ssh://board/~/venv/bin/python"
    assert parse_address("exec:qemu-aarch64 -L '/a b' python3") == ExecAddress(
        argv=("qemu-aarch64", "-L", "/a b", "python3")
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "pi@board", "ssh://", "ssh://-oProxyCommand=x", "ssh://pi@-board", "ssh://a b",
        "ssh://pi:secret@board", "ssh://board/", "ssh://board/a b", "ssh://board:0", "ssh://board:65536",
        "ssh://board:22;reboot", "ssh://$(reboot)", "ssh://-l@board", "ssh://board\n", "exec:",
        "exec:'", "LOCAL", "ssh:board", "adb:", "adb:-s", "adb:a b", "adb:a;b", "adbx",
        "web:", "web:gpu", "web:webgpu:link", "webx",
    ],
)  # fmt: skip
def test_other_texts_are_refused(text):
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("adb", AdbAddress()),
        ("adb:emulator-5554", AdbAddress(serial="emulator-5554")),
        ("adb:192.168.1.5:5555", AdbAddress(serial="192.168.1.5:5555")),
        ("web", WebAddress()),
        ("web:link", WebAddress(link=True)),
        ("web:webgpu", WebAddress(accelerator="webgpu")),
        ("web:link:webgpu", WebAddress(link=True, accelerator="webgpu")),
    ],
)
def test_phones_and_browsers(text, address):
    assert parse_address(text) == address
    assert str(address) == text


@given(st.text(max_size=40))
def test_whatever_is_accepted_reads_the_same_again(text):
    try:
        address = parse_address(f"ssh://{text}")
    except UsageError:
        return
    assert parse_address(str(address)) == address
    argv = ssh_command(address)
    # The last two words are the host, after the end of the options, and the constant.
    assert argv[-3] == "--"
    assert argv[-1] == COMMAND
    assert not argv[-2].startswith("-")
    assert not set(argv[-2]) & set(" ;$`|&<>'\"\\\n")


def test_the_client_is_strict(monkeypatch):
    monkeypatch.delenv("EDGEKIT_SSH_CONFIG", raising=False)
    argv = ssh_command(SshAddress(host="board", user="pi", port=22))
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no")
    for option in (*options, "RemoteCommand=none", "ServerAliveInterval=5"):
        assert argv[argv.index(option) - 1] == "-o"
    assert "-F" not in argv
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", "/tmp/config")
    assert ssh_command(SshAddress(host="board"))[1:3] == ("-F", "/tmp/config")


@pytest.mark.parametrize(
    ("said", "cause", "cure"),
    [
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "another host key", "ssh-keygen"),
        ("No ED25519 host key is known for board and you", "not known yet", "fingerprint"),
        ("pi@board: Permission denied (publickey).", "with a key", "ssh-copy-id"),
        ("ssh: Could not resolve hostname board", "not a host", "name"),
        ("connect to host board port 22: Connection refused", "refuses", "sshd"),
        ("connect to host board port 22: Connection timed out", "reached", "network"),
        ("sh: 1: exec: python3: not found", "no python3", "Python"),
        ("\x1b[2Jsomething else", "exit code 255", "python3 --version"),
    ],
)
def test_what_ssh_says_becomes_what_to_type(said, cause, cure):
    error = ssh_failure(SshAddress(host="board", user="pi"), 255, f"{said}\n")
    assert error is not None
    assert cause in error.cause
    assert cure in error.cure
    assert "\x1b" not in error.cause


def test_adb_gets_a_list_of_words():
    assert adb_command(AdbAddress(serial="x"), "shell") == ("adb", "-s", "x", "shell")
    assert adb_command(AdbAddress(), "shell") == ("adb", "shell")
    subprocess.run(["sh", "-n", "-c", AGENT_COMMAND], check=True)


@pytest.mark.parametrize(
    ("said", "cause", "cure"),
    [
        ("error: no devices/emulators found", "not connected", "USB debugging"),
        ("error: device 'x' not found", "not connected", "adb devices"),
        ("error: more than one device/emulator", "several", "adb:SERIAL"),
        ("error: device unauthorized.", "let this computer in", "allow"),
        ("error: device offline", "offline", "adb reconnect"),
        ("error: cannot connect to daemon", "own server", "kill-server"),
        ("edgekit: no python", "no Python", "--runner-binary"),
        ("\x1b[2Jsomething else", "exit code 1", "adb devices"),
    ],
)
def test_what_adb_says_becomes_what_to_type(said, cause, cure):
    error = adb_failure(AdbAddress(serial="x"), 1, f"{said}\n")
    assert error is not None
    assert cause in error.cause
    assert cure in error.cure
    assert "\x1b" not in error.cause


def test_a_server_of_adbs_that_is_only_just_started_is_no_failure():
    said = "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
    assert adb_failure(AdbAddress(), None, said) is None
