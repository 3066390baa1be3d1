"""An emulated aarch64 device: Debian's arm64 Python and aarch64 wheels under qemu-user.

    python tests/devices/aarch64.py

prints an ``exec:`` address for each runtime. Everything lies in ``~/.cache/edgekit-tests/aarch64``
and is made once. Nothing is installed but ``qemu-user``, and that only as root; the arm64 packages
are unpacked into the folder.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from edgekit.toolchain.environments import uv_environment
from edgekit.toolchain.interpreters import uv

FOLDER = Path.home() / ".cache" / "edgekit-tests" / "aarch64"
RUNTIMES = {
    "tflite-runtime==2.14.0": ["tflite-runtime==2.14.0", "numpy==1.26.4"],
    "ai-edge-litert==1.4.0": ["ai-edge-litert==1.4.0", "numpy==1.26.4"],
    "ai-edge-litert==2.1.6": ["ai-edge-litert==2.1.6", "numpy==1.26.4"],
}
_PACKAGES = (
    *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libgcc-s1"),
    *("libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5"),
    "libuuid1",
)


class Unavailable(Exception):
    """The emulation cannot be set up here; says why."""


def address(runtime: str, cpu: str = "cortex-a72") -> str:
    """``exec:`` address of an emulated device with a runtime, set up if need be.

    Raises:
        Unavailable: no qemu-user, or packages cannot be downloaded.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        qemu = _qemu()
        root = _root()
        site = _site(runtime)
    words = [
        qemu,
        *("-cpu", cpu, "-L", str(root)),
        *("-E", f"PYTHONPATH={site}", "-E", f"LD_LIBRARY_PATH={root}/usr/lib/aarch64-linux-gnu"),
        *("-E", f"PYTHONHOME={root}/usr", "-E", "PYTHONDONTWRITEBYTECODE=1"),
        f"{root}/usr/bin/python3.11",
    ]
    return f"exec:{shlex.join(words)}"


def _qemu() -> str:
    if found := shutil.which("qemu-aarch64"):
        return found
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable("qemu-user is missing: apt-get install qemu-user")
    _run(["apt-get", "update"])
    _run(["apt-get", "install", "-y", "--no-install-recommends", "qemu-user"])
    return shutil.which("qemu-aarch64") or ""


def _root() -> Path:
    root = FOLDER / "root"
    if (root / "complete").exists():
        return root
    if not shutil.which("dpkg"):
        raise Unavailable("The arm64 packages are Debian's, and there is no dpkg here.")
    if "arm64" not in _run(["dpkg", "--print-foreign-architectures"]):
        if os.getuid() != 0:
            raise Unavailable("dpkg --add-architecture arm64 needs root.")
        _run(["dpkg", "--add-architecture", "arm64"])
        _run(["apt-get", "update"])
    downloads = FOLDER / "packages"
    shutil.rmtree(downloads, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    downloads.mkdir()
    names = [f"{name}:arm64" for name in _PACKAGES]
    _run(["apt-get", "-o", "APT::Sandbox::User=root", "download", *names], cwd=downloads)
    for package in downloads.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(root)])
    (root / "complete").touch()
    return root


def _site(runtime: str) -> Path:
    site = FOLDER / runtime.replace("==", "-")
    if (site / "complete").exists():
        return site
    shutil.rmtree(site, ignore_errors=True)
    target = ["--target", str(site), "--python-platform", "aarch64-manylinux_2_36"]
    wheels = ["--python-version", "3.11", "--only-binary", ":all:", "--no-config"]
    _run([uv(), "pip", "install", *target, *wheels, *RUNTIMES[runtime]], env=uv_environment())
    (site / "complete").touch()
    return site


def _run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    answer = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600
    )
    if answer.returncode:
        raise Unavailable(f"{shlex.join(command[:3])} failed: {answer.stderr.strip()[-300:]}")
    return answer.stdout


if __name__ == "__main__":
    for name in sys.argv[1:] or RUNTIMES:
        print(name, address(name), sep="\n  ")
