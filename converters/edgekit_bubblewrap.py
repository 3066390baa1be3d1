"""A worker that starts itself again under Bubblewrap, where the kernel has no Landlock.

Bubblewrap (https://github.com/containers/bubblewrap, ``man bwrap``) gives a process file systems of
its own choice, and needs no privilege where user namespaces may be made. What `edgekit_containment`
has the kernel hold otherwise is what is mounted here: what may be read, read-only; what may be
written; devices; the processes of this worker alone. Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import edgekit_containment as containment

INSIDE = "EDGEKIT_BUBBLEWRAP"
"""Set for the second start; `edgekit.toolchain.worker` takes it away before the first."""
_FRESH = ("--unshare-pid", "--unshare-ipc", "--proc", "/proc", "--dev", "/dev", "--die-with-parent")
_SECONDS = 10


def start_again(bounds: containment.Confinement, program: Path) -> None:
    """Replace this process by the same command under Bubblewrap; return where that cannot be.

    To be called before anything is taken from standard input.

    Args:
        bounds: what is allowed.
        program: the worker, which may read what is beside it.
    """
    import shutil

    if sys.platform != "linux" or INSIDE in os.environ:
        return
    bwrap = shutil.which("bwrap")
    if bwrap is None or not _works(bwrap):
        return
    os.environ[INSIDE] = "1"
    os.environ["EDGEKIT_BOUNDS"] = bounds.to_json()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execv(bwrap, [bwrap, *_FRESH, *_mounts(bounds, program), "--", *command])  # noqa: S606


def _works(bwrap: str) -> bool:
    """Whether it may do here what it is asked to; in some containers it may not."""
    import subprocess

    try:
        tried = subprocess.run(
            [bwrap, "--ro-bind", "/", "/", *_FRESH, "--", "/bin/true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


def _mounts(bounds: containment.Confinement, program: Path) -> Iterator[str]:
    """What there is besides the fresh /proc and /dev; the root itself is empty and read-only."""
    if bounds.read is None:
        read = [f"/{name}" for name in os.listdir("/") if name not in ("proc", "dev")]  # noqa: PTH208
    else:
        places = containment.python_places(program)
        read = [*containment.SYSTEM, *places, *bounds.read, *_links()]
    mounted: list[str] = []
    for path in sorted({*read, *map(os.path.realpath, read)}):
        if not any(path.startswith(f"{above}/") for above in mounted):
            mounted.append(path)
            yield from ("--ro-bind-try", path, path)
    for path in bounds.write:
        yield from ("--bind-try", path, path)
    for path in sorted(containment.accelerators()):
        yield from ("--dev-bind-try", path, path)
    here = os.getcwd()  # noqa: PTH109
    yield from ("--dir", here, "--remount-ro", "/", "--chdir", here)


def _links() -> Iterator[str]:
    """The links by which this interpreter is found, one after the other."""
    path = Path(sys.executable)
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield str(path)
