"""For every test: none starts a toolchain by accident, none touches the user's caches."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from edgekit.toolchain import environments

from . import shared

# No deadline: on a busy machine a slow example says nothing about the code.
settings.register_profile("edgekit", deadline=None)
settings.load_profile("edgekit")

# A shell starts background jobs with Ctrl-C ignored, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Every pass is followed by a look at the graph; workers inherit it.
os.environ.setdefault("EDGEKIT_VERIFY_PASSES", "1")

# Side by side, each test's frameworks keep to one core and do not fight over both.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first: the short ones then fill what is left of each worker's time."""
    long = {item.path for item in items if item.get_closest_marker("e2e")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    shared.start(tmp_path_factory)


@pytest.fixture(autouse=True)
def _no_toolchain_by_accident(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
):
    """Only tests marked ``e2e`` build or use the real environments; they share those of the user.

    Every other test has a home of its own, with no environment in it, and a uv that refuses.
    A test of the builder itself replaces ``environments.uv`` by a program of its own.
    """
    if request.node.get_closest_marker("e2e"):
        yield
        return
    real = environments.uv
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_HOME", str(tmp_path_factory.mktemp("edgekit-home")))
        for name in ("EDGEKIT_CONVERTERS", "EDGEKIT_PYTHON", "EDGEKIT_BOUNDS"):
            patch.delenv(name, raising=False)
        run_uv = environments._run_uv

        def guarded(arguments, converter, log: Path) -> None:
            if environments.uv is real:
                _refuse(converter.name)
            run_uv(arguments, converter, log)

        patch.setattr(environments, "_run_uv", guarded)
        yield


def _refuse(name: str) -> NoReturn:
    # Not an `Exception`: no `except` of the code under test swallows it.
    pytest.fail(f"This test would build the {name} environment. Mark it e2e, or use a fake uv.")
