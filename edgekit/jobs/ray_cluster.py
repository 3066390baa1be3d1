"""Jobs on a Ray cluster: Ray places them, moves their files, and tells who went away."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgekit.errors import SetupError, StepOutOfMemory, UsageError
from edgekit.files import temporary_prefix
from edgekit.jobs.local import with_log
from edgekit.jobs.machine import code_digest, this_machine
from edgekit.jobs.process import JobAnswer
from edgekit.jobs.protocol import Ending, Job, Outcome, Resources
from edgekit.jobs.ray_node import run_job
from edgekit.jobs.shipping import pack, unpack
from edgekit.toolchain import home

_NODES_SECONDS = 1.0
"""Between two looks at which nodes there are."""
_ANSWER_SECONDS = 60.0
"""A node that does not say in that time what it has is not used."""
_CONNECT_SECONDS = 5.0
_CANCEL_SECONDS = 5.0
_SHIPPED_BYTES = 1 << 30
"""Of the files that jobs need, so much stays in the object store."""
_CANCELLED = 130
_CLIENT = "ray://"
_INSTALL = "pip install 'edgekit-tflite[ray]'"


@dataclass(kw_only=True)
class ClusterJob:
    """A job that was handed to Ray.

    Attributes:
        job: the job.
        node: where its place was counted; Ray may have found another.
        answer, files: what Ray calls what will come.
        started: when, by the monotonic clock.
        cancelled: somebody does not want it any more.
    """

    job: Job
    node: str
    answer: Any
    files: Any
    started: float
    cancelled: bool = False


class RayExecutor:
    """Runs jobs on a Ray cluster; all calls come from one thread.

    No more is handed over than the nodes have room for. A device is on the node that has the
    resource ``device:ADDRESS``, or can be reached from all; it has one holder here either way.

    Args:
        address: ``HOST:PORT`` of a running cluster, ``ray://HOST:PORT`` of one from outside, or
            ``local`` for one on this machine that ends with the executor.
        cores: of the ``local`` one.
        seconds: that a job may take; 0 for any.

    Raises:
        UsageError: the address is none.
        SetupError: Ray is not installed, nobody answers, or a node has another edgekit or Python.
    """

    def __init__(
        self,
        address: str,
        *,
        cores: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError as error:
            raise SetupError("Ray is not installed.", cure=_INSTALL) from error
        self._ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own:
            _connect(ray, address, cores)
        self._address = address
        self._settings = {
            "code": code_digest(),
            "cwd": str(Path.cwd()),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "seconds": seconds,
        }
        self._run = ray.remote(run_job)
        self._running: dict[str, ClusterJob] = {}
        self._shipped: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._count = count()
        self._total: dict[str, dict[str, float]] = {}
        self._looked = 0.0
        self._alike: dict[str, bool] = {}
        self.logs = home.new_logs("jobs")
        self._folder = Path(tempfile.mkdtemp(prefix=temporary_prefix("jobs")))
        try:
            if not self.largest():
                raise SetupError(
                    f"The Ray cluster at {address} has no node with a core.",
                    cure="Start a worker: ray start --address=HOST:PORT",
                )
        except BaseException:
            self.close()
            raise

    def within(self, folder: Path) -> RayExecutor:
        """The same, which puts the jobs' files into an existing folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = Path(tempfile.mkdtemp(prefix=temporary_prefix("jobs"), dir=folder))
        return self

    def largest(self) -> float:
        """The cores of the largest node."""
        self._look()
        return max((node.get("CPU", 0.0) for node in self._total.values()), default=0.0)

    def free(self) -> Resources:
        """What is not occupied now, over all nodes."""
        left = self._left()
        return Resources(
            cores=sum(node.get("CPU", 0.0) for node in left.values()),
            memory=int(sum(node.get("memory", 0.0) for node in left.values())),
            gpus=sum(node.get("GPU", 0.0) for node in left.values()),
        )

    def fits(self, resources: Resources) -> bool:
        """Whether a job that needs these could start at once."""
        return self._place(resources) is not None

    def start(self, job: Job, inputs: Mapping[str, Path]) -> None:
        """Hand over a job that fits.

        Raises:
            SetupError: its inputs do not fit into the object store.
        """
        node = self._place(job.resources) or ""
        wanted = self._wanted(job.resources)
        run = self._run.options(
            num_cpus=wanted.pop("CPU"),
            num_gpus=wanted.pop("GPU"),
            memory=wanted.pop("memory"),
            resources=wanted,
            max_retries=0,
            num_returns=2,
        )
        told = {
            "key": job.key,
            "name": job.name,
            "function": job.function,
            "arguments": dict(job.arguments),
            "needs": list(job.needs),
            "memory": job.resources.memory,
        }
        shipped = [self._ship(key, inputs[key]) for key in job.needs]
        answer, files = run.remote(told, self._settings, *shipped)
        self._running[job.key] = ClusterJob(
            job=job, node=node, answer=answer, files=files, started=time.monotonic()
        )

    def outcomes(self, timeout: float) -> list[Outcome]:
        """Those that ended since the last call; waits at most ``timeout`` seconds for the first.

        Raises:
            SetupError: the cluster itself is gone, or the disk here is full.
        """
        running = {one.answer: one for one in self._running.values()}
        if not running:
            return []
        try:
            ended, _ = self._ray.wait(list(running), num_returns=1, timeout=timeout)
            if ended and len(running) > 1:
                ended, _ = self._ray.wait(list(running), num_returns=len(running), timeout=0)
        except (ConnectionError, self._ray.exceptions.RaySystemError) as error:
            raise SetupError(
                f"The Ray cluster at {self._address} is gone: {_first_line(error)}",
                cure="Start it again; what is finished is kept.",
            ) from error
        return [self._outcome(running[answer]) for answer in ended]

    def cancel(self, key: str) -> None:
        """End a running job with all that it started; one that is not running is left alone."""
        if running := self._running.get(key):
            running.cancelled = True
            self._ray.cancel(running.answer)

    def close(self) -> None:
        """End everything that still runs, and leave the cluster; a ``local`` one ends."""
        if self._running and self._ray.is_initialized():
            left = [one.answer for one in self._running.values()]
            for answer in left:
                self._ray.cancel(answer)
            _, left = self._ray.wait(left, num_returns=len(left), timeout=_CANCEL_SECONDS)
            for answer in left:
                self._ray.cancel(answer, force=True)
        self._running.clear()
        self._shipped.clear()
        if self._own:
            self._ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _outcome(self, running: ClusterJob) -> Outcome:
        """What became of a job; its files are put where they belong."""
        job, exceptions = running.job, self._ray.exceptions
        del self._running[job.key]
        told: dict[str, Any] = {}
        folder = None
        try:
            told, files = self._ray.get([running.answer, running.files])
        except exceptions.RayError as error:
            answer = self._failed(error)
        else:
            machine = told.pop("machine")
            answer = JobAnswer(**(told | {"ending": Ending(told["ending"])}))
            told = machine
        if running.cancelled:
            answer = JobAnswer(ending=Ending.CANCELLED, exit_code=_CANCELLED)
        if answer.ending == Ending.DONE:
            folder = self._folder / f"{job.key[:16]}-{next(self._count)}"
            self._receive(files, folder)
        return Outcome(
            key=job.key,
            ending=answer.ending,
            value=answer.value,
            folder=folder,
            reason=with_log(answer, job, self.logs),
            exit_code=answer.exit_code,
            seconds=answer.seconds or time.monotonic() - running.started,
            machine=told,
        )

    def _receive(self, files: Mapping[str, Any], folder: Path) -> None:
        part = folder.with_suffix(".part")
        try:
            unpack(files, part)
            part.rename(folder)
        except OSError as error:
            raise SetupError(
                f"A job's files cannot be written: {error}", cure="Free some space."
            ) from error

    def _failed(self, error: Exception) -> JobAnswer:
        """How a job ended whose Ray task did not come to its end."""
        exceptions = self._ray.exceptions
        if isinstance(error, exceptions.TaskCancelledError):
            return JobAnswer(ending=Ending.CANCELLED, exit_code=_CANCELLED)
        if isinstance(error, exceptions.OutOfMemoryError):
            why = "Ray stopped the job, since its machine was running out of memory."
            return JobAnswer(ending=Ending.CRASHED, reason=why, exit_code=StepOutOfMemory.exit_code)
        if isinstance(error, exceptions.RayTaskError):
            why = f"edgekit itself failed on a node: {_first_line(error.cause)}."
            return JobAnswer(ending=Ending.BUG, reason=why, exit_code=1, trace=str(error))
        why = f"The worker or its machine went away: {_first_line(error)}"
        return JobAnswer(ending=Ending.LOST, reason=why, exit_code=SetupError.exit_code)

    def _ship(self, key: str, folder: Path) -> Any:
        """A job's files in the object store, which takes them to whoever needs them, once."""
        if key not in self._shipped:
            files = pack(folder)
            try:
                shipped = self._ray.put(files)
            except self._ray.exceptions.ObjectStoreFullError as error:
                raise SetupError(
                    f"The files in {folder} do not fit into Ray's object store.",
                    cure="Start the cluster with a larger --object-store-memory.",
                ) from error
            self._shipped[key] = shipped, sum(content.nbytes for content in files.values())
        self._shipped.move_to_end(key)
        while len(self._shipped) > 1 and sum(size for _, size in self._shipped.values()) > (
            _SHIPPED_BYTES
        ):
            self._shipped.popitem(last=False)
        return self._shipped[key][0]

    def _place(self, resources: Resources) -> str | None:
        """The node with the least room where it would fit; ``None`` where it would not."""
        held = frozenset().union(*(one.job.resources.devices for one in self._running.values()))
        if resources.devices & held:
            return None
        wanted = self._wanted(resources)
        room = {
            name: left
            for name, left in self._left().items()
            if all(left.get(kind, 0.0) >= size - 1e-9 for kind, size in wanted.items())
        }
        return min(room, key=lambda name: room[name].get("CPU", 0.0), default=None)

    def _left(self) -> dict[str, dict[str, float]]:
        """By node, what of its resources no job of ours has."""
        self._look()
        left = {name: dict(total) for name, total in self._total.items()}
        for running in self._running.values():
            node = left.get(running.node, {})
            for kind, size in self._wanted(running.job.resources).items():
                node[kind] = node.get(kind, 0.0) - size
        return left

    def _wanted(self, resources: Resources) -> dict[str, float]:
        """In Ray's words; a device is one where a node says that it has it."""
        known = {kind for node in self._total.values() for kind in node}
        devices = {f"device:{one}" for one in resources.devices} & known
        return {
            "CPU": resources.cores,
            "GPU": resources.gpus,
            "memory": float(resources.memory),
            **dict.fromkeys(devices, 1.0),
        }

    def _look(self) -> None:
        """Which nodes there are; what new ones have is asked.

        Raises:
            SetupError: one of the first has another edgekit or Python.
        """
        now = time.monotonic()
        if self._looked and now - self._looked < _NODES_SECONDS:
            return
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        new = [one for one in alive.values() if one["NodeID"] not in self._alike]
        problems = _check(self._ray, new)
        self._alike |= {one["NodeID"]: one["NodeID"] not in problems for one in new}
        if problems and not self._looked:
            raise SetupError(
                next(iter(problems.values())),
                cure="Install the same edgekit on all nodes, with the same Python.",
            )
        self._total = {
            name: dict(node["Resources"]) for name, node in alive.items() if self._alike[name]
        }
        self._looked = time.monotonic()


def _connect(ray: Any, address: str, cores: int | None) -> None:
    """Join or start a cluster, without Ray's telemetry, dashboard and words on the terminal."""
    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address == "local":
        options |= {"num_cpus": cores, "include_dashboard": False}
        if sys.platform == "linux":  # where all of 127.0.0.0/8 is loopback; Ray replaces 127.0.0.1
            options["_node_ip_address"] = "127.0.0.2"
    else:
        _require_answer(address)
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        try:
            ray.init(address=address, **options)
        except ConnectionError:
            if not address.startswith(_CLIENT):
                raise
            ray.init(address=address, **options)  # a client's server can die while it starts
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        if "mismatch" in str(error).lower():
            raise SetupError(
                f"The Ray cluster at {address} has another Ray or Python: {_one_line(error)}",
                cure="Install the versions that the cluster has.",
            ) from error
        raise SetupError(
            f"The Ray cluster at {address} cannot be joined: {_first_line(error)}",
            cure="Ask it with: ray status. Where it wants a token, set RAY_AUTH_MODE=token.",
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for one, handler in handlers.items():
                signal.signal(one, handler)  # Ray's own would end the process without a word


def _require_answer(address: str) -> None:
    """Ray itself waits for minutes where nobody is.

    Raises:
        UsageError: it is not an address.
        SetupError: nobody listens there.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("", "ray") or not parts.hostname or port is None:
        raise UsageError(
            f"{address!r} is not an address of a Ray cluster.",
            cure="Give HOST:PORT, ray://HOST:PORT, or local.",
        )
    try:
        socket.create_connection((parts.hostname, port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise SetupError(
            f"No Ray cluster answers at {address}: {error.strerror or error}.",
            cure="Start one (ray start --head), or check the address.",
        ) from error


def _check(ray: Any, nodes: list[Any]) -> dict[str, str]:
    """What is wrong with each node that is not like this machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def tell() -> dict[str, str]:  # goes there as it stands: edgekit may be missing
        import platform

        try:
            from edgekit.jobs.machine import code_digest, this_machine
        except ImportError:
            return {"host": platform.node(), "python": platform.python_version(), "edgekit": ""}
        return {**this_machine(), "code": code_digest()}

    here = {**this_machine(), "code": code_digest()}
    asked = {}
    for node in nodes:
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        told = ray.remote(tell).options(num_cpus=0, max_retries=0, scheduling_strategy=where)
        asked[told.remote()] = node
    ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS) if asked else None
    problems = {}
    for answer, node in asked.items():
        try:
            problem = _differs(here, ray.get(answer, timeout=0))
        except (ray.exceptions.RayError, TimeoutError) as error:
            problem = f"does not answer: {_first_line(error)}"
        if problem:
            problems[node["NodeID"]] = f"The node {node['NodeManagerAddress']} {problem}"
    return problems


def _differs(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    if not there["edgekit"]:
        return "has no edgekit."
    for name in ("edgekit", "python"):
        one, other = here[name], there[name]
        if one != other:
            return f"has {name} {other}, and this machine {one}."
    return "" if here["code"] == there["code"] else "has other code of edgekit than this machine."


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
