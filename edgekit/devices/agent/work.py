"""What a run has on the device: its folder, and the device itself."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .frames import AgentRefusal

if TYPE_CHECKING:
    from .frames import Header

_YOUNG_SECONDS = 60


class WorkFolder:
    """The folder of one run, below ``base``; leftovers of killed runs are removed first."""

    def __init__(self, base: Path) -> None:
        base.mkdir(0o700, parents=True, exist_ok=True)
        for old in base.glob("work-*"):
            _remove_if_dead(old)
        self.path = Path(tempfile.mkdtemp(prefix="work-", dir=str(base)))
        # Held for as long as this process lives: how the next agent sees that the folder is used.
        self._alive = (self.path / "alive").open("w", encoding="utf-8")
        fcntl.flock(self._alive, fcntl.LOCK_EX)

    def free_bytes(self) -> int:
        """What a user without privileges may still write there."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def remove(self) -> None:
        """Delete it with all that is inside."""
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_if_dead(folder: Path) -> None:
    try:
        if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
            return  # another agent may just be starting: its file is not locked yet
        with (folder / "alive").open("a", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # somebody works there, or it is not ours


class DeviceLock:
    """One run on a device at a time. The kernel frees the lock when its process dies."""

    def __init__(self, base: Path) -> None:
        self._path = base / "lock"
        self._stream: Any = None

    def take(self, holder: Header) -> None:
        """Hold the device, or say who does.

        Raises:
            AgentRefusal: another run holds it; the cause names it.
        """
        if self._stream is not None:
            return
        stream = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.seek(0)
            told = holder_words(stream.read(4096))
            stream.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise AgentRefusal(
                "busy",
                f"Another run is using the device: {told}.",
                "Wait until it ends. A run whose connection is lost frees the device by itself "
                "after 15 minutes at the latest.",
            ) from error
        stream.truncate(0)
        stream.write(json.dumps(dict(holder, agent=os.getpid())))
        stream.flush()
        self._stream = stream

    def free(self) -> None:
        """Let the next run in."""
        if self._stream is not None:
            self._stream.truncate(0)
            self._stream.close()
            self._stream = None


def holder_words(text: str) -> str:
    """Who holds a device, from what is in its lock."""
    try:
        holder = json.loads(text)
        agent = " (agent process {agent} there)" if "agent" in holder else ""
        return ("{user} on {host}, process {pid}, since {time}" + agent).format(**holder)
    except (ValueError, LookupError, TypeError):
        return "by whom is not known"
