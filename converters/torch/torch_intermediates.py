"""What every module of a PyTorch model returns, told while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def listening(
    model: torch.nn.Module, told: Callable[[str, str, torch.Tensor], None]
) -> Iterator[Callable[[], None]]:
    """Tell the path, the class and the result of each module that runs.

    A module that only passes on what a module inside it returned is left out; one that runs again
    gets a number behind its path.

    Yields:
        A function to call after each sample.
    """
    calls: Counter[str] = Counter()
    seen: list[torch.Tensor] = []

    def hook_of(path: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def hook(module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor) or not output.is_floating_point():
                return
            if any(output is other for other in seen):
                return
            seen.append(output)
            calls[path] += 1
            label = path if calls[path] == 1 else f"{path}#{calls[path]}"
            told(label, type(module).__name__, output)

        return hook

    def next_sample() -> None:
        calls.clear()
        seen.clear()

    handles = [
        module.register_forward_hook(hook_of(path))
        for path, module in model.named_modules()
        if path
    ]
    try:
        yield next_sample
    finally:
        for handle in handles:
            handle.remove()
