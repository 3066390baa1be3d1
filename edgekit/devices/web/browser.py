"""A headless Chromium with a profile of its own, which reaches nothing but loopback."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from edgekit.errors import DeviceUnreachable

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    *("--headless=new", "--no-first-run", "--disable-dev-shm-usage", "--disable-breakpad"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--no-proxy-server"),
    # A tab that nobody looks at would be slowed down.
    *("--disable-background-timer-throttling", "--disable-renderer-backgrounding"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_GPU = ("--enable-unsafe-webgpu", "--ignore-gpu-blocklist")


def find_browser() -> str:
    """The path of a Chromium; ``EDGEKIT_BROWSER`` names another.

    Raises:
        DeviceUnreachable: there is none.
    """
    chosen = os.environ.get("EDGEKIT_BROWSER")
    for name in (chosen,) if chosen else _NAMES:
        if found := shutil.which(name):
            return found
    raise DeviceUnreachable(
        f"There is no browser {chosen}." if chosen else "There is no Chromium here.",
        cure="Install one (Debian: apt install chromium), name one with EDGEKIT_BROWSER, or use "
        "your own browser: --device web:link",
    )


class Browser:
    """A browser that shows one page. `stop` ends it.

    Args:
        url: of the page.
        folder: private; the profile goes there.
        gpu: whether WebGPU is wanted.

    Raises:
        DeviceUnreachable: there is no browser, or it cannot be started.
    """

    def __init__(self, url: str, *, folder: Path, gpu: bool) -> None:
        program = find_browser()
        self._log = folder / "browser.log"
        # The address has the token in it: on the command line every user could read it.
        door = folder / "open.html"
        door.write_text(
            f'<meta http-equiv="refresh" content="0;url={html.escape(url)}">', encoding="utf-8"
        )
        options = [*_OPTIONS, *(_GPU if gpu else ("--disable-gpu",))]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium's sandbox refuses to work for root
        argv = [
            *_dies_with_us(),
            program,
            *options,
            f"--user-data-dir={folder / 'profile'}",
            door.as_uri(),
        ]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "HOME": str(folder)},  # it would write to ~/.pki and more
                )
        except OSError as error:
            raise DeviceUnreachable(
                f"{program} cannot be started: {error.strerror}.",
                cure="Name another browser with EDGEKIT_BROWSER.",
            ) from error

    @property
    def ended(self) -> str | None:
        """Its last words if it has ended by itself; ``None`` while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"exit code {code}" + (f": {lines[-1][:200]}" if lines else "")

    def stop(self) -> None:
        """End it, by its own process id."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(3)
            return
        self._process.kill()
        self._process.wait()


def _dies_with_us() -> list[str]:
    """What makes the kernel end it where this process is killed: a program of util-linux."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
