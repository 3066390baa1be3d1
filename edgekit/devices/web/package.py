"""The browser's runtime, `@litertjs/core`: fetched once by npm, held to the digests of a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from edgekit.errors import DeviceUnreachable, EnvironmentNotReady
from edgekit.toolchain import home
from edgekit.types import Progress, SilentProgress

PAGE = Path(__file__).parent / "page"
NAME = "@litertjs/core"
_LOCK = PAGE / "package-lock.json"
_MARKER = "edgekit-complete.json"
_SECONDS = 600


def version() -> str:
    """The version that the lock pins."""
    packages = json.loads(_LOCK.read_text(encoding="utf-8"))["packages"]
    return str(packages[f"node_modules/{NAME}"]["version"])


def location() -> Path:
    """The folder where the package is, or would be: named after the lock's digest."""
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    return home.environments() / f"litertjs-{digest}"


def is_ready() -> bool:
    """Whether it is installed whole."""
    return (location() / _MARKER).is_file()


def files() -> dict[str, Path]:
    """What a page may load, by the path below ``litert/`` that it asks for.

    Raises:
        DeviceUnreachable: it is not installed.
    """
    if not is_ready():
        raise DeviceUnreachable(
            f"The runtime for browsers, {NAME} {version()}, is not installed.",
            cure="edgekit device install web",
        )
    packages = location() / "node_modules" / "@litertjs"
    found = {
        "core.js": packages / "core" / "dist" / "index.js",
        "wasm-utils.js": packages / "wasm-utils" / "dist" / "index.js",
    }
    for path in sorted((packages / "core" / "wasm").glob("*")):
        found[f"wasm/{path.name}"] = path
    return found


def install(progress: Progress | None = None) -> Path:
    """Fetch the package if it is not there; npm checks the digests of the lock.

    Raises:
        EnvironmentNotReady: no npm, no network, a wrong digest, or a full disk.
    """
    folder = location()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_ready():
                _build(folder, progress or SilentProgress())
    except OSError as error:
        raise EnvironmentNotReady(
            f"{NAME} cannot be written to {folder}: {error}",
            cure="Free 100 MB, or set EDGEKIT_HOME to another folder that you may write to.",
        ) from error
    return folder


def _build(folder: Path, progress: Progress) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise EnvironmentNotReady(
            f"{NAME} is fetched by npm, which is not here.",
            cure="Install Node.js with npm (Debian: apt install npm), then: "
            "edgekit device install web",
        )
    progress.step(f"Fetching {NAME} {version()} (once)")
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PAGE / name, folder / name)
    log = folder.with_name(f"{folder.name}.log")
    _npm_ci(npm, folder, log)
    (folder / _MARKER).write_text(json.dumps({"package": NAME, "version": version()}))


def _npm_ci(npm: str, folder: Path, log: Path) -> None:
    """Install what the lock says; scripts of packages are not run."""
    with log.open("w", encoding="utf-8") as stream:
        try:
            code = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code == 0:
        return
    words = log.read_text(encoding="utf-8", errors="replace")
    if "EINTEGRITY" in words:
        cause, cure = "the download does not have the locked digest.", "Check your npm mirror."
    else:
        cause, cure = "npm failed.", "Is its registry reached? The log has npm's reasons."
    raise EnvironmentNotReady(f"{NAME} cannot be installed: {cause}", cure=cure, log=log)
