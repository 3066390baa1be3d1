"""A real OpenSSH server on loopback, with its own keys, port and configuration."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
MISSING = "no sshd here: apt-get install openssh-server"

_SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
PrintMotd no
SetEnv XDG_CACHE_HOME={cache} PATH={python}:/usr/bin:/bin
"""
_CLIENT = """
Host *
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


class SshServer:
    """The server, and the client's configuration that knows its host key."""

    def __init__(self, folder: Path) -> None:
        assert SSHD
        self.folder = folder
        self.cache = folder / "cache"
        self.user = getpass.getuser()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for name in ("host", "user", "other"):
            self._key(folder / name)
        python = Path(sys.executable).parent
        self._write("sshd_config", _SERVER, cache=self.cache, port=self.port, python=python)
        self.config = self._write("ssh_config", _CLIENT)
        self.know("host")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=(folder / "sshd.log").open("w"),
        )
        self._wait()

    @property
    def address(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    def know(self, key: str | None) -> None:
        """Which key the client takes for the server's; ``None``: it knows none."""
        line = ""
        if key is not None:
            public = (self.folder / f"{key}.pub").read_text().rpartition(" ")[0]
            line = f"[127.0.0.1]:{self.port} {public}\n"
        (self.folder / "known_hosts").write_text(line)

    def connections(self) -> list[psutil.Process]:
        """The server's processes that each serve a connection."""
        return psutil.Process(self._process.pid).children()

    def stop(self) -> None:
        for process in (*self.connections(), self._process):
            process.terminate()
        self._process.wait(10)

    def _key(self, path: Path) -> None:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(command, check=True)

    def _write(self, name: str, text: str, **more: object) -> Path:
        path = self.folder / name
        path.write_text(text.format(folder=self.folder, **more))
        return path

    def _wait(self) -> None:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text())
