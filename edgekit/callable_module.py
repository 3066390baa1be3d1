"""Packages that are called like the commands that they are named after.

``edgekit.diff`` is a package, and importing anything of it makes it an attribute of ``edgekit``. So
that ``edgekit.diff(a, b)`` is the command all the same, the package itself can be called.
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Command(ModuleType):
    """A module whose call is the function of its own name in `edgekit.api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._function(*arguments, **options)

    @property
    def _function(self) -> Any:
        return getattr(import_module("edgekit.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)


def make_callable(name: str) -> None:
    """Make the package ``name`` callable."""
    sys.modules[name].__class__ = _Command
