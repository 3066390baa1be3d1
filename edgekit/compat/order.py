"""Which clients are asked at the same time: those whose times mean nothing, and they only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.compat.asking import ClientAnswer, ask
from edgekit.compat.clients import Client
from edgekit.compat.samples import ClientSamples
from edgekit.tflite.summary import Summary
from edgekit.toolchain import environments
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import Progress, SilentProgress


@dataclass(frozen=True)
class Asking:
    """A file and its samples, given to one client after the other.

    Attributes:
        file, summary, samples: what every client is asked about.
        folder: an existing, empty one for the clients' files.
        seconds: how long opening, and running, may take; ``None`` for the client's own limit.
        progress: told what happens.
    """

    file: Path
    summary: Summary
    samples: ClientSamples
    folder: Path
    seconds: float | None
    progress: Progress
    _workshops: list[Workshop] = field(default_factory=list)

    def answers(self, clients: Sequence[Client]) -> dict[str, ClientAnswer]:
        """What each of them says, by its name.

        The slow ones are those that are not made for this computer: interpreters of reference
        kernels, on one core each. They run side by side, and are done when others are timed.
        """
        aside = [one for one in clients if _may_run_aside(one)]
        found = dict(zip([one.name for one in aside], self._side_by_side(aside), strict=True))
        return found | {one.name: self.answer(one) for one in clients if one not in aside}

    def answer(self, client: Client, kernels: str = "") -> ClientAnswer:
        """What one says; see `edgekit.compat.asking.ask`."""
        return self._ask(client, self.progress, kernels)

    def _side_by_side(self, clients: Sequence[Client]) -> list[ClientAnswer]:
        if not clients:
            return []
        self.progress.step(f"Running {self.file.name} in {', '.join(one.name for one in clients)}")
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            waiting = [pool.submit(self._ask, one, SilentProgress()) for one in clients]
            try:
                return [one.result() for one in waiting]
            except BaseException:  # Ctrl-C, mostly: no process outlives it
                pool.shutdown(wait=False, cancel_futures=True)
                for workshop in self._workshops:
                    workshop.close()
                raise

    def _ask(self, client: Client, progress: Progress, kernels: str = "") -> ClientAnswer:
        work = self.folder / f"{client.name} {kernels}".strip()
        work.mkdir()
        workshop = Workshop(
            name=f"compat-{client.name}",
            progress=progress,
            limits=Limits(seconds=self.seconds),
            work=work,
            read=(self.file.resolve(),),
        )
        self._workshops.append(workshop)
        return ask(
            client, self.file, self.summary, self.samples, workshop=workshop, kernels=kernels
        )


def _may_run_aside(client: Client) -> bool:
    """Not while its environment is built, which is told as it goes on."""
    worker = client.worker
    return worker is not None and not client.timed and environments.is_ready(worker)
