"""The process between edgekit and a page: an agent whose runtime is in a browser.

Started as ``python -m edgekit.devices.web.bridge ACCELERATOR BROWSER [TELL]``. BROWSER is
``headless`` or ``link``; with a link, the page's address is written to the file descriptor TELL.
What goes wrong before the agent answers is the last line of standard error, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from edgekit.devices.agent.frames import (
    MAX_PAYLOAD,
    PROTOCOL,
    AgentRefusal,
    BadFrame,
    pack_arrays,
    unpack_arrays,
)
from edgekit.devices.agent.serve import Agent, Wire
from edgekit.devices.parcel import MARKER
from edgekit.devices.web import package
from edgekit.devices.web.browser import Browser
from edgekit.devices.web.graph import describe
from edgekit.devices.web.server import PageGone, PageServer
from edgekit.errors import DeviceUnreachable, EdgekitError
from edgekit.toolchain import home

if TYPE_CHECKING:
    from edgekit.devices.agent.frames import Frame, Header

_GPU_CURE = "Use --device web, which computes in WebAssembly."


class WebAgent(Agent):
    """An agent that hands the work on to a page.

    Args:
        wire: to edgekit.
        base: the folder for the run's own folder and for the lock.
        accelerator: ``wasm`` or ``webgpu``.
    """

    def __init__(self, wire: Wire, base: Path, accelerator: str) -> None:
        super().__init__(wire, base)
        self._accelerator = accelerator
        self._page = PageServer(package.files(), progress=self._count)
        self._browser: Browser | None = None
        self._facts: Header = {}
        self._known: dict[str, tuple[Header, bool]] = {}
        self._loads: dict[str, tuple[int, float]] = {}
        self._verbs |= {"describe": self._describe, "drop": self._drop}

    def show(self, browser: str, tell: int | None) -> None:
        """Get the page before a browser, and wait until it says hello.

        Raises:
            DeviceUnreachable: no browser, it ends, or it cannot do what is wanted.
        """
        if browser == "headless":
            gpu = self._accelerator == "webgpu"
            self._browser = Browser(self._page.url, folder=self._folder.path, gpu=gpu)
        elif tell is not None:
            os.write(tell, f"Open this link in your browser:\n{self._page.url}\n".encode())
        facts, parent = None, os.getppid()
        try:
            while facts is None:
                facts = self._page.hello(0.2)
                if os.getppid() != parent:  # edgekit was killed while we waited
                    raise DeviceUnreachable("Nobody waits for the page any more.")
                if self._browser and (words := self._browser.ended):
                    raise DeviceUnreachable(
                        f"The browser ended ({words}).",
                        cure="Name another one with EDGEKIT_BROWSER, or use web:link",
                    )
        except PageGone as error:
            raise DeviceUnreachable("The page was closed before it started.") from error
        except BadFrame as error:
            raise DeviceUnreachable(
                f"The page cannot start: {error}.", cure="Try another browser: web:link"
            ) from error
        if self._accelerator == "webgpu" and not facts.get("webgpu"):
            raise DeviceUnreachable("This browser has no WebGPU adapter.", cure=_GPU_CURE)
        self._facts = facts

    def clean(self) -> None:
        """Also end the browser."""
        if self._browser is not None:
            self._browser.stop()
        super().clean()

    def _count(self, done: int) -> None:
        self._done = done

    def _hello(self, header: Header, _: bytes) -> Header:
        return {
            **super()._hello(header, _),
            "name": self._facts.get("browser"),
            "runtime": package.NAME,
            "runtime_version": package.version(),
            "browser": self._browser_words(),
            "python": None,  # this process's is of no interest
            **{key: self._facts.get(key) for key in ("machine", "system", "cores")},
            "protocol": PROTOCOL,
        }

    def _browser_words(self) -> str:
        """The browser and what it computes with, for reports."""
        wasm = ", ".join(["WebAssembly", *map(str, self._facts.get("wasm") or ())])
        gpu = self._facts.get("webgpu")
        words = f"WebGPU ({gpu})" if self._accelerator == "webgpu" else wasm
        return f"{self._facts.get('browser')}, {words}"

    def _asked(self, header: Header, payload: bytes = b"") -> Frame:
        """What the page answers.

        Raises:
            Refusal: it cannot do it.
        """
        try:
            answer, data = self._page.ask(header, payload)
        except PageGone:
            self.clean()
            os._exit(3)  # edgekit sees that the device has vanished
        if answer.get("ok") is True:
            return answer, data
        if answer.get("lost") is True:
            self._loads.clear()
        words = str(answer.get("cause", "no reason given")).strip().partition("\n")[0]
        raise AgentRefusal("model", f"The browser's runtime refuses the model: {words[:300]}")

    def _described(self, header: Header) -> tuple[Header, bool]:
        digest = header.get("digest")
        path = self._models.path(digest)
        if not path.exists():
            raise AgentRefusal("protocol", "That model is not on the device.")
        if str(digest) not in self._known:
            self._known[str(digest)] = describe(path)
        return self._known[str(digest)]

    def _ready(self, header: Header) -> str:
        """The digest of the request's model, which is in the page then."""
        digest, threads = str(header.get("digest")), int(header.get("threads", 1))
        tables, _ = self._described(header)
        if self._loads.get(digest, (0, 0.0))[0] == threads:
            return digest
        order = {"verb": "load", "digest": digest, "threads": threads}
        names = {side: [one["name"] for one in tables[side]] for side in ("inputs", "outputs")}
        answer, _ = self._asked(
            {**order, **names, "accelerator": self._accelerator},
            self._models.path(digest).read_bytes(),
        )
        if answer.get("forgot") is True:
            self._loads.clear()
        if answer.get("accelerated") is not True:
            raise AgentRefusal(
                "model", "WebGPU does not take all operators of the model.", _GPU_CURE
            )
        self._loads[digest] = threads, float(answer["load_ms"])
        return digest

    def _describe(self, header: Header, _: bytes) -> Header:
        digest = self._ready(header)
        return {**self._described(header)[0], "load_ms": self._loads[digest][1]}

    def _run(self, header: Header, payload: bytes) -> tuple[Header, bytes]:
        digest = self._ready(header)
        arrays, data = pack_arrays(unpack_arrays(header, payload, MAX_PAYLOAD), compress=False)
        stateful = self._described(header)[1]
        order = {"verb": "run", "digest": digest, "stateful": stateful}
        answer, data = self._asked({**order, **arrays}, data)
        table, packed = pack_arrays(
            unpack_arrays(answer, data, MAX_PAYLOAD), bool(header.get("compress"))
        )
        return {**table, "seconds": answer.get("seconds")}, packed

    def _benchmark(self, header: Header, payload: bytes) -> Header:
        digest = self._ready(header)
        sample = [stack[:1] for stack in unpack_arrays(header, payload, MAX_PAYLOAD)]
        arrays, data = pack_arrays(sample, compress=False)
        limits = {key: header[key] for key in ("runs", "warmup", "seconds")}
        order = {"verb": "benchmark", "digest": digest, **limits}
        answer, _ = self._asked({**order, **arrays}, data)
        times = {key: answer.get(key) for key in ("samples_ms", "first_ms")}
        return {**times, "load_ms": self._loads[digest][1]}

    def _drop(self, header: Header, _: bytes) -> Header:
        digest = str(header.get("digest"))
        self._known.pop(digest, None)
        if self._loads.pop(digest, None):
            self._asked({"verb": "drop", "digest": digest})
        return self._models.drop(digest)


def main(accelerator: str, browser: str, tell: int | None = None) -> None:
    """Serve on the standard streams until edgekit is gone."""
    pipe = open(0, "rb", 0, closefd=False)  # noqa: SIM115 - nothing is read ahead
    for _ in range(2):
        pipe.readline()  # the loader and its order: the agent is here already
    sink = os.dup(1)
    os.dup2(2, 1)
    try:
        agent = WebAgent(Wire(0, sink), home.home() / "web", accelerator)
    except EdgekitError as error:
        _fail(error)

    def leave(_signal: int, _frame: Any) -> None:
        agent.clean()
        os._exit(3)

    for name in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, leave)
    try:
        agent.show(browser, tell)
    except EdgekitError as error:
        agent.clean()
        _fail(error)
    with suppress(BrokenPipeError):
        os.write(sink, b"\n" + MARKER + b"ready\n")
        agent.serve()
    os._exit(0)  # the server's threads must not keep us


def _fail(error: EdgekitError) -> NoReturn:
    os.write(2, json.dumps({"cause": error.cause, "cure": error.cure}).encode() + b"\n")
    os._exit(3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
