"""Ask edgekit about planted lies and their honest twins: ``python benchmarks/lies.py``.

None of the lies may end in PASS, and every twin must. Prints a table, and ends with 1 where one
does not answer as it should.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lying.battery import Answer, Bench, groups
from lying.nets import Digits, train


def answers(folder: Path) -> Iterator[Answer]:
    """What edgekit says about each file of the battery."""
    digits = Digits.load()
    for group in groups(Bench(folder, digits, train(digits))):
        yield from group.ask()


def main() -> int:
    """Print the table."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = list(answers(Path(folder)))
    for one in found:
        sign = " " if one.as_it_should else "!"
        kind = "twin" if one.honest else "lie"
        print(f"{sign} {kind:4}  {one.state:10}  {one.group}: {one.name}")
        print(
            f"         {one.why}" if "-v" in sys.argv or sign == "!" else "",
            end="\n" * ("-v" in sys.argv or sign == "!"),
        )
    lies = [one for one in found if not one.honest]
    twins = [one for one in found if one.honest]
    print(
        f"{len(lies)} lies, {sum(one.state == 'pass' for one in lies)} of them passed; "
        f"{len(twins)} honest twins, {sum(one.state == 'pass' for one in twins)} passed; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 0 if all(one.as_it_should for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
