"""A file in all clients: ask each one, hold its answer against LiteRT's, keep what was found."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgekit.compat.clients import BASELINE, Client
from edgekit.compat.judging import MOST_STEPS, OTHER_KERNELS, ClientDifference, vary
from edgekit.compat.order import Asking
from edgekit.compat.rows import ClientJudge, ClientRow
from edgekit.compat.samples import ClientSamples, judged_outputs, stored_samples
from edgekit.errors import SetupError
from edgekit.files import temporary_folder
from edgekit.tflite.summary import Summary, summarize
from edgekit.toolchain import home
from edgekit.types import Progress, VerdictState
from edgekit.version import __version__

_KEPT = 1000


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """A file in all clients that were asked.

    Attributes:
        file: its path.
        sha256: of its bytes.
        data: where the samples come from; ``synthetic`` for random ones.
        samples: how many.
        samples_digest: of the tensors that went in.
        most_steps: the difference, in output steps, up to which a client agrees.
        varies: whether LiteRT's outputs differ from sample to sample. Where they do not, that a
            client says the same proves nothing.
        rows: one a client, LiteRT first.
    """

    file: str
    sha256: str
    data: str
    samples: int
    samples_digest: str
    most_steps: float
    varies: bool
    rows: tuple[ClientRow, ...]

    def violations(self) -> dict[str, str]:
        """The clients that do not say what LiteRT says, and why not, where all are required."""
        good = ("agrees", "baseline", "ran")
        return {row.client: row.reason or row.state for row in self.rows if row.state not in good}

    def verdict(self, required: Sequence[str] = ()) -> tuple[VerdictState, str]:
        """Whether the file holds, and why not.

        A client in ``required`` must run the file and agree. Of the others, one that runs it must
        agree; that it refuses the file is told and fails nothing. Where no client but LiteRT ran
        it, or LiteRT says the same to every sample, nothing is proven.
        """
        by_name = {row.client: row for row in self.rows}
        if wrong := [row.client for row in self.rows if row.state == "differs"]:
            return "fail", f"{', '.join(wrong)} gave other results than LiteRT"
        good = ("agrees", "baseline")
        unmet = [name for name in required if by_name[name].state not in (*good, "missing", "ran")]
        if unmet:
            return "fail", f"{', '.join(unmet)} did not run it"
        if gone := [name for name in required if by_name[name].state == "missing"]:
            return "not proven", f"{', '.join(gone)} could not be tried"
        if by_name[BASELINE].state != "baseline":
            return "not proven", "LiteRT did not run it, so there is nothing to compare with"
        if not self.varies:
            return "not proven", "LiteRT's outputs are the same for every sample"
        agreeing = [row.client for row in self.rows if row.state == "agrees"]
        if not agreeing:
            return "not proven", "no client but LiteRT ran it"
        verb = "agrees" if len(agreeing) == 1 else "agree"
        return "pass", f"{', '.join(agreeing)} {verb} with LiteRT"


def compatibility(
    file: Path,
    clients: Sequence[Client],
    *,
    data: Path | None,
    samples: int = 16,
    seed: int = 0,
    most_steps: float = MOST_STEPS,
    seconds: float | None = None,
    fresh: bool = False,
    progress: Progress,
) -> Compatibility:
    """Run a file in clients on the same samples.

    Args:
        file: the `.tflite`.
        clients: whom to ask; the baseline must be the first.
        data: what `edgekit.calibration.sources.open_source` takes; random inputs if ``None``.
        samples: at most so many.
        seed: of the random inputs.
        most_steps: how far a client that agrees may be from LiteRT, in output steps.
        seconds: how long a client may take to open the file, and to run it.
        fresh: ask again what is known from an earlier run.
        progress: told what happens.

    Raises:
        ModelError: the file is damaged, or there are no samples for its inputs.
        DataError: the data does not fit the model.
    """
    summary = summarize(file)
    return in_clients(
        file,
        clients,
        summary,
        stored_samples(file, summary, data=data, samples=samples, seed=seed),
        data="synthetic" if data is None else str(data),
        most_steps=most_steps,
        seconds=seconds,
        fresh=fresh,
        progress=progress,
    )


def in_clients(
    file: Path,
    clients: Sequence[Client],
    summary: Summary,
    given: ClientSamples,
    *,
    data: str,
    most_steps: float = MOST_STEPS,
    seconds: float | None = None,
    fresh: bool = False,
    progress: Progress,
) -> Compatibility:
    """The same on samples that are there; see `compatibility`.

    Args:
        file: the `.tflite`.
        clients: whom to ask; the baseline must be the first.
        summary: what is in the file.
        given: what goes in.
        data: where that comes from, for the reader.
        most_steps, seconds, fresh, progress: as there.
    """
    assert clients[0].name == BASELINE
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with temporary_folder("compat") as folder:
        places = {one: _place(digest, given, one, clients[0], most_steps) for one in clients[1:]}
        known = {} if fresh else {one.name: _read(place) for one, place in places.items()}
        asked = Asking(file, summary, given, folder, seconds, progress)
        answers = asked.answers([one for one in clients if known.get(one.name) is None])
        wanted = answers[BASELINE]
        judge = ClientJudge(judged_outputs(file, summary), wanted, most_steps)
        found = {name: judge.row(name, answer) for name, answer in answers.items()}
        others = [wanted]
        for kernels, words in OTHER_KERNELS.items():
            if far := [name for name, row in found.items() if row.state == "differs"]:
                others.append(asked.answer(clients[0], kernels))
                found |= {
                    name: judge.near(found[name], answers[name], others[-1], words) for name in far
                }
        for client in clients:
            kernels = answers[client.name].other_kernels if client.name in answers else ""
            if kernels and found[client.name].state == "differs":
                again = asked.answer(client, kernels)
                found[client.name] = judge.explained(found[client.name], again, others, kernels)
        for client, place in places.items():
            if client.name in answers and answers[client.name].lasting:
                _keep(place, found[client.name])
    rows = {name: replace(row, cached=True) for name, row in known.items() if row} | found
    return Compatibility(
        file=str(file),
        sha256=digest,
        data=data,
        samples=len(given.ids),
        samples_digest=given.digest,
        most_steps=most_steps,
        varies=bool(wanted.outputs) and vary(wanted.outputs),
        rows=tuple(rows[one.name] for one in clients),
    )


# ------------------------------------------------------------------------- what is known already


def _place(
    file: str, samples: ClientSamples, client: Client, baseline: Client, most_steps: float
) -> Path:
    """Where an answer is kept: named after all that it depends on."""
    try:
        parts = [__version__, file, samples.digest, client.digest(), baseline.digest()]
    except OSError as error:
        raise SetupError(
            f"The client {client.name} cannot be read: {error}", cure="Reinstall edgekit."
        ) from error
    words = "\n".join((*parts, f"{most_steps:g}"))
    return home.home() / "compat" / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"


def _read(place: Path) -> ClientRow | None:
    """An answer of an earlier run; a damaged one is as if there was none."""
    try:
        table = json.loads(place.read_text(encoding="utf-8"))
        outputs = tuple(ClientDifference(**entry) for entry in table.pop("outputs"))
        return ClientRow(**table, outputs=outputs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _keep(place: Path, row: ClientRow) -> None:
    """Best effort: it saves time, and is not a record."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        half = place.with_suffix(f".{os.getpid()}")
        half.write_text(json.dumps(asdict(row)), encoding="utf-8")
        half.replace(place)
        entries = sorted(place.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)
        for old in entries[:-_KEPT]:
            old.unlink(missing_ok=True)
