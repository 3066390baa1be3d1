"""A worker that tries what no worker may do. Verb: ``attempt``; standard library only.

By the C library, as the native code of a back end would: what Python's own hook refuses with a
message says nothing about the kernel.
"""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path
from typing import Any


def attempt(request: dict[str, Any], _progress: Any) -> dict[str, Any]:
    """Try each thing on ``request["folder"]``, which has a file ``there`` and is out of bounds.

    Returns:
        ``done``: what could be done; ``files``: what has the kernel hold files, if anything does.
    """
    from edgekit_bubblewrap import INSIDE
    from edgekit_containment import landlock_abi

    libc, folder = ctypes.CDLL(None, use_errno=True), Path(request["folder"])
    done = {
        "writing": _opens(libc, folder / "new", os.O_WRONLY | os.O_CREAT),
        "reading": _opens(libc, folder / "there", os.O_RDONLY),
        "programs": _forks(libc),
        "network": _closes(libc, libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)),
    }
    abi = landlock_abi()
    files = f"Landlock {abi}" if abi else "Bubblewrap" if INSIDE in os.environ else ""
    return {"done": [name for name, could in done.items() if could], "files": files}


def _opens(libc: Any, path: Path, flags: int) -> bool:
    return _closes(libc, libc.open(os.fsencode(path), flags, 0o600))


def _closes(libc: Any, descriptor: int) -> bool:
    return bool(descriptor >= 0 and libc.close(descriptor) == 0)


def _forks(libc: Any) -> bool:
    child = libc.fork()
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
    return bool(child > 0)
