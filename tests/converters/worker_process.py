"""A worker in a process of its own, started as edgekit's launcher does; standard library only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

CONVERTERS = Path(__file__).resolve().parents[2] / "converters"


class WorkerFailure(Exception):
    """The error event of a verb: ``kind``, ``cause``, ``cure`` and ``trace``."""

    def __init__(self, event: dict[str, str]) -> None:
        super().__init__(f"{event['kind']}: {event['cause']} {event['cure']}")
        self.kind, self.cause, self.cure = event["kind"], event["cause"], event["cure"]
        self.trace = event["trace"]


class WorkerProcess:
    """``with WorkerProcess("keras", log) as worker: worker.call("describe", source=…)``.

    ``seconds`` keeps how long each verb took, the last call of each.
    """

    def __init__(self, converter: str, log: Path, python: str = sys.executable) -> None:
        events, child = os.pipe()
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [python, CONVERTERS / "edgekit_worker.py", CONVERTERS / converter / "worker.py"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[child],
                env={
                    **os.environ,
                    "EDGEKIT_EVENTS_FD": str(child),
                    "EDGEKIT_BOUNDS": json.dumps(
                        {
                            "write": [str(log.parents[1])],
                            "scratch": str(log.parent),
                            "code": False,
                        }
                    ),
                },
                text=True,
            )
        os.close(child)
        self._events = os.fdopen(events, encoding="utf-8")
        self.fractions: list[float] = []
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._events.close()

    def call(self, verb: str, **request: Any) -> dict[str, Any]:
        """The result of a verb; `WorkerFailure` where it answers with an error."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": 1, "verb": verb, **request}) + "\n")
        self._process.stdin.flush()
        for line in self._events:
            event = json.loads(line)
            match event["event"]:
                case "progress":
                    self.fractions.append(event["fraction"])
                case "result":
                    self.seconds[verb] = event["seconds"]
                    return event["result"]
                case "error":
                    raise WorkerFailure(event)
        raise AssertionError(f"the worker ended:\n{self.log.read_text()[-3000:]}")
