"""``edgekit.sweep``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.arguments import AnyPath, is_path, path
from edgekit.errors import UsageError
from edgekit.jobs.ray_cluster import RayExecutor
from edgekit.sweep.file import read_sweep, sweep_from_table
from edgekit.sweep.planning import plan_sweep
from edgekit.sweep.result import SweepResult
from edgekit.sweep.run import carry_out, cores_here, folder_of
from edgekit.toolchain.workshop import Limits
from edgekit.types import Progress


def sweep(
    file: AnyPath | Mapping[str, Any],
    *,
    output: AnyPath | None = None,
    retry_failed: bool = False,
    trust_pickle: bool = False,
    limits: Limits | None = None,
    cluster: str | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Convert and measure many models in many ways, and say which files are on the front.

    >>> edgekit.sweep("sweep.toml").front  # doctest: +SKIP

    What an earlier call has finished, also one that was killed, is not done again.

    Args:
        file: a sweep file, or what it would hold as a dict; see docs/sweep.md.
        output: the folder for everything, ``NAME_sweep`` by default; needed with a dict.
        retry_failed: also try again what failed because of its input.
        trust_pickle: open pickles, which can run any code.
        limits: on the time and memory of each step.
        cluster: the address of a Ray cluster that does the work, see docs/cluster.md.
        progress: told of jobs, failures and retries.

    Returns:
        The result. A failed gate or job is no exception: look at ``result.passed``.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    folder = path(output, "output")
    if isinstance(file, Mapping):
        if folder is None:
            raise UsageError("A sweep from a dict has no name.", cure="Give output, a folder.")
        read = sweep_from_table(file, Path.cwd(), "the sweep")
    elif is_path(file):
        read = read_sweep(Path(file))
        folder = folder or folder_of(Path(file))
    else:
        raise UsageError(f"The sweep is a {type(file).__name__}.", cure="Give a path or a dict.")
    there = RayExecutor(cluster) if cluster else None
    cores = there.largest() if there else cores_here()
    planned = plan_sweep(read, cores=cores, limits=limits, trust_pickle=trust_pickle)
    executor = there.within if there else None
    return carry_out(planned, folder, executor=executor, again=retry_failed, progress=progress)
