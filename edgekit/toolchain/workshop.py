"""The workers of one run: started when first needed, kept while useful, gone at the end."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from edgekit.errors import (
    EdgekitError,
    StepCrashed,
    StepError,
    StepOutOfMemory,
    StepTimeout,
)
from edgekit.files import temporary_prefix
from edgekit.toolchain import environments, home
from edgekit.toolchain.bounds import Bounds, files_of, runs_code
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.worker import Worker, write_bytecode
from edgekit.types import ModelSource, Progress, Step


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a step may use; ``None`` leaves it to the converter's manifest.

    ``allow_write`` has folders in which the model may write, beside its work folder.
    """

    seconds: float | None = None
    memory_gb: float | None = None
    allow_network: bool = False
    allow_write: tuple[Path, ...] = ()


@dataclass(kw_only=True)
class Workshop:
    """Calls verbs of converters and records each call as a lineage step.

    Attributes:
        name: for the logs.
        progress: told the steps.
        limits: what a step may use.
        work: an existing folder, the only one that the workers may write to; without it they have
            a temporary one, for what they need themselves.
        source: the model that this is about, which its converter may read.
        read: other files that the workers may read.
    """

    name: str
    progress: Progress
    limits: Limits = field(default_factory=Limits)
    work: Path | None = None
    source: ModelSource | None = None
    read: tuple[Path, ...] = ()
    steps: list[Step] = field(default_factory=list)
    _workers: dict[str, Worker] = field(default_factory=dict)
    _versions: dict[str, dict[str, str]] = field(default_factory=dict)
    _logs: Path | None = None
    _own: TemporaryDirectory[str] | None = None

    def call(
        self,
        converter: Converter,
        verb: str,
        request: dict[str, Any],
        *,
        title: str,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], Step]:
        """Ask a converter for a verb.

        Args:
            converter: who.
            verb: what.
            request: the verb's arguments.
            title: what the user sees meanwhile.
            options: what the lineage records of the request.

        Returns:
            The verb's result, and the step for the lineage.

        Raises:
            EdgekitError: see `edgekit.toolchain.worker.Worker.call`.
        """
        self._let_read(converter, request)
        self.progress.step(title)
        worker = self._worker(converter)
        self.progress.step(title)  # again after an environment was built, which is a step itself
        try:
            reply = worker.call(verb, request, self.progress)
        except StepError as error:
            if isinstance(error, StepCrashed | StepTimeout | StepOutOfMemory):
                self.release(converter)
            error.done = tuple(step.name for step in self.steps)
            raise
        self.progress.update(1.0)
        step = Step(
            name=f"{converter.name} {verb}",
            tool=converter.name,
            seconds=round(reply.seconds, 3),
            peak_memory_mb=round(reply.peak_memory_mb, 1),
            versions=self._versions[converter.name],
            options={**(options or {}), **reply.result.get("options", {})},
            log=str(worker.log),
        )
        self.steps.append(step)
        return reply.result, step

    def warm(self, converters: Iterable[Converter]) -> None:
        """Start converters that will be needed, so that they load while others work.

        One whose environment is not there yet is left for later: building it is a step of its own.
        """
        for converter in converters:
            with contextlib.suppress(EdgekitError):  # told when its turn comes
                if environments.is_ready(converter):
                    self._worker(converter)

    def versions_of(self, converter: Converter) -> dict[str, str]:
        """What a converter's environment has, as its manifest lists it; empty before it started."""
        return self._versions.get(converter.name, {})

    def has(self, converter: Converter) -> bool:
        """Whether the converter's process is there, with what it has loaded."""
        return converter.name in self._workers

    def release(self, converter: Converter) -> None:
        """End a converter's process, and with it the memory that its model takes."""
        if worker := self._workers.pop(converter.name, None):
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers."""
        while self._workers:
            self._workers.popitem()[1].close()
        if self._own is not None:
            self._own.cleanup()
            self._own = None

    @property
    def log_folder(self) -> Path:
        """The folder of this run's logs, kept after the run; old runs' are pruned."""
        if self._logs is None:
            self._logs = home.new_logs(self.name)
        return self._logs

    def _worker(self, converter: Converter) -> Worker:
        if converter.name not in self._workers:
            environment = environments.ensure(converter, self.progress)
            self._versions[converter.name] = versions(
                converter.versions, environment.site_packages()
            )
            if environment.folder is None:
                write_bytecode(converter.program, converter.modules)
            self._workers[converter.name] = Worker(
                converter.program,
                python=environment.python,
                log=self.log_folder / f"{converter.name}.log",
                name=converter.name,
                seconds=self.limits.seconds or converter.limit_seconds,
                memory_gb=self.limits.memory_gb or converter.limit_memory_gb,
                isolated=environment.folder is not None,
                bounds=self._bounds(converter),
            )
        return self._workers[converter.name]

    def _let_read(self, converter: Converter, request: dict[str, Any]) -> None:
        """What edgekit itself asks a worker to open it may read; one that may not starts anew."""
        named = filter(None, [request.get("artifact"), *request.get("artifacts", ())])
        known = [self.folder.resolve(), *(path.resolve() for path in self.read)]
        if self.source is not None and self.source.path is not None:
            known.append(self.source.path.resolve())
        new = tuple(
            Path(one)
            for one in named
            if Path(one).exists()  # a factory's name is not a file
            and not any(Path(one).resolve().is_relative_to(root) for root in known)
        )
        if new:
            self.read += new
            self.release(converter)

    def _own_files(self) -> tuple[Path, ...]:
        return files_of(self.source) if self.source else ()

    def _bounds(self, converter: Converter) -> Bounds:
        """What a converter may touch: more where it is to run the user's own code."""
        code = (
            self.source is not None
            and self.source.kind in converter.runs
            and runs_code(self.source)
        )
        work = self.folder
        scratch = work / f"scratch-{converter.name}"
        scratch.mkdir(exist_ok=True)
        return Bounds(
            write=(work, *self.limits.allow_write),
            read=None if code else (*self._own_files(), *self.read, *converter.reads),
            code=code,
            processes=converter.processes,
            network=self.limits.allow_network,
            scratch=scratch,
        )

    @property
    def folder(self) -> Path:
        """Where the workers may write."""
        if self.work is not None:
            return self.work
        if self._own is None:
            self._own = TemporaryDirectory(prefix=temporary_prefix("worker"))
        return Path(self._own.name)


def versions(distributions: Iterable[str], path: list[str] | None = None) -> dict[str, str]:
    """The versions of those distributions that are installed (nothing is imported)."""
    found = {}
    for name in distributions:
        with contextlib.suppress(StopIteration):
            arguments = {"name": name} if path is None else {"name": name, "path": path}
            first = next(iter(importlib.metadata.distributions(**arguments)))
            found[name] = first.version
    return found
