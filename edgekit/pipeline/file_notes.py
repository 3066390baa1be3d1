"""What a float file has otherwise than its source, which the app must know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgekit.types import Binding

_GROWTH = 1.5
_SMALL = 1_000_000
"""Below so many bytes a graph outweighs its weights, and nobody minds."""


def notes_on(source: Path | None, file: Path, outputs: Sequence[Binding]) -> Iterator[str]:
    """Notes for the report.

    Args:
        source: the model's file or folder, where it has one.
        file: the float file.
        outputs: how the model's outputs map to the file's.
    """
    yield from _growth(source, file)
    yield from _layouts(outputs)


def _growth(source: Path | None, file: Path) -> Iterator[str]:
    if source is None or source.suffix == ".py" or not source.exists():
        return
    parts = [source] if source.is_file() else [one for one in source.rglob("*") if one.is_file()]
    before, after = sum(part.stat().st_size for part in parts), file.stat().st_size
    if after > _SMALL and after > _GROWTH * before:
        yield (
            f"The float file is {after / 1e6:.1f} MB, {source.name} {before / 1e6:.1f} MB: "
            "weights in float16 or integers became float32, or constants are stored several times."
        )


def _layouts(outputs: Sequence[Binding]) -> Iterator[str]:
    """Pictures and maps whose axes differ from each other's, which no app expects of one file."""
    maps = [one for one in outputs if len(one.permutation) > 3]
    turned = [one for one in maps if list(one.permutation) != sorted(one.permutation)]
    if turned and len(turned) < len(maps):
        kept = [one.reference for one in maps if one not in turned]
        yield (
            f"The axes of {', '.join(one.reference for one in turned)} are turned in the files, "
            f"those of {', '.join(kept)} are the model's."
        )
