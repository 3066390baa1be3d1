"""What to type now: the last line of a command and of its page, the same in both."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.diff.findings import Diff
    from edgekit.results import ConversionResult, FileResult
    from edgekit.tflite.summary import Summary
    from edgekit.validation.explain.points import Explanation
    from edgekit.validation_result import ValidationResult


def command(*words: object) -> str:
    """A command as it is typed."""
    return shlex.join(map(str, words))


def after_conversion(result: ConversionResult) -> str:
    """After a failure the way to its cause, else the way into an app."""
    made = {one.scheme: one for one in result.files if not one.error}
    if not made:
        return "convert again with another --scheme; the reasons are named below"
    last = list(made.values())[-1]
    if result.probe.wrong:
        return "state how the model is fed, as the first line says, and convert again"
    if all(one.verdict.passed for one in made.values()):
        # An app can do no more with a classifier that ends in an arg-max than read its number.
        chosen = result.contract.task == "classification" and "index_agreement" in last.metrics
        if result.contract.task is None or chosen:
            return command("edgekit", "inspect", last.artifact.path)
        target = ("--target", "cpp", "--output", "app/model")
        return command("edgekit", "embed", last.artifact.path, *target)
    failed = next((one for one in made.values() if one.verdict.state == "fail"), None)
    if failed is None:
        return "more real data with --calibration: a few hundred samples"
    return _to_its_cause(failed, made.get("fp32", failed), result.data.path)


def to_its_operators(result: ConversionResult) -> str:
    """Where the error of the file that was made last comes in; empty where nothing tells."""
    made = {one.scheme: one for one in result.files if not one.error}
    last = next(reversed(made.values()), None)
    if last is None or "fp32" not in made or last.scheme == "fp32" or result.data.synthetic:
        return ""
    return _to_its_cause(last, made["fp32"], result.data.path)


def _to_its_cause(failed: FileResult, reference: FileResult, data: str) -> str:
    if reference is failed:
        return command("edgekit", "inspect", failed.artifact.path)
    files = (failed.artifact.path, "--reference", reference.artifact.path, "--data")
    return command("edgekit", "explain", *files, data)


def after_validation(result: ValidationResult) -> str:
    """After a failure the way to its cause, else the way into an app."""
    if not result.complete:
        return "the same command with --resume: it goes on with the samples that are left"
    pairs = list(zip(result.candidates, result.states, strict=True))
    failed = next((one for one, state in pairs if state == "fail" and not one.error), None)
    if result.probe.wrong:
        return "state how the model is fed, as the first line says, and validate again"
    if failed is not None and failed.diagnosis is not None and failed.diagnosis.advice:
        return f"{failed.diagnosis.advice.rstrip('.')}, and validate again"
    broken = next((one for one, _ in pairs if one.error), None)
    if broken is not None or failed is not None:
        return command("edgekit", "inspect", (broken or failed or pairs[0][0]).path)
    good = next((one for one, state in pairs if state == "pass"), None)
    if good is None:
        return "more real data with --data: a few hundred samples"
    task = good.contract.task if good.contract else None
    if task is None:
        return command("edgekit", "inspect", good.path)
    return command("edgekit", "embed", good.path, "--target", "cpp", "--output", "app/model")


def after_explain(
    found: Explanation, candidate: Path, reference: Sequence[object], data: Path
) -> str:
    """After advice a new file by it; else whether the file may ship as it is.

    Args:
        found: what was found.
        candidate: the file.
        reference: as it was named, and the options that it needs; none where there was none.
        data: what both ran on.
    """
    option = re.search(r"--[a-z][a-z-]*(?: [a-z]+)?", found.advice)
    if found.advice:
        way = f" with {option[0]}" if option else ""
        return f"what to try, above: convert again{way}, then the same edgekit explain"
    if not reference:
        return command("edgekit", "inspect", candidate)
    return command("edgekit", "validate", candidate, "--reference", *reference, "--data", data)


def after_sensitivity(file: Path, given: Sequence[object]) -> str:
    """int8 with the layers that hurt in more bits; ``given`` says on which data."""
    folder = f"{file.stem}_int8"
    return command("edgekit", "quantize", file, *given, "--scheme", "int8-mixed", "-o", folder)


def after_diff(found: Diff, before: Path, after: Path) -> str:
    """What the difference costs, where that was not measured; else what is inside the newer one."""
    if found.same:
        return command("edgekit", "inspect", after)
    if found.behaviour is None:
        return command("edgekit", "benchmark", before, after)
    return command("edgekit", "inspect", after)


def after_benchmark(files: Sequence[Path]) -> str:
    """Whether what is fast is right, too."""
    if len(files) > 1:
        return command("edgekit", "diff", files[0], files[-1])
    return command("edgekit", "inspect", files[0])


def after_inspect(summary: Summary, targets: Sequence[str], *, fits: bool) -> str:
    """The way into an app, or what is missing for it."""
    path = Path(summary.path)
    if targets and not fits:
        return command("edgekit", "target", "show", targets[0])
    if summary.contract is not None and summary.contract.task is not None:
        return command("edgekit", "embed", path, "--target", "cpp", "--output", "app/model")
    return command("edgekit", "benchmark", path)


def after_inspect_source(location: str, needed: Sequence[str]) -> str:
    """The conversion, as far as it can be typed for the user."""
    start = command("edgekit", "convert", location)
    return " ".join([start, *needed, "--calibration FOLDER"])


def after_verify(file: Path, *, same: bool, lock: Path) -> str:
    """Whether the files can be made again, or what became of those that differ."""
    if same:
        again = ("replay", lock, "--dry-run") if lock.name == "edgekit.lock" else ("inspect", file)
        return command("edgekit", *again)
    return "take the file again from where its lock is from"


def after_replay(lock: Path, *, same: bool, checked_only: bool, moved: Sequence[str]) -> str:
    """The replay itself after its check; after inputs that moved, where they are now."""
    if moved:
        return command("edgekit", "replay", lock, "--moved", f"{moved[0]}=PATH")
    if checked_only:
        return command("edgekit", "replay", lock)
    return "" if same else command("edgekit", "replay", lock, "--output", "again")


def after_reference(file: Path, data: str) -> str:
    """A validation against what was recorded."""
    options = ("--reference", file, "--data", data)
    return command("edgekit", "validate", "MODEL.tflite", *options)


def after_runtimes(file: Path, *, refused: bool) -> str:
    """Why a runtime refused the file, or the clients beside the runtimes."""
    if refused:
        return command("edgekit", "inspect", file)
    return command("edgekit", "compat", file, "--synthetic")


def after_device_check(address: str, *, missing: bool) -> str:
    """What a device is for."""
    again = command("edgekit", "device", "check", address)
    return (
        again if missing else command("edgekit", "benchmark", "MODEL.tflite", "--device", address)
    )


def after_doctor(cures: Sequence[str]) -> str:
    """The first thing to install; where nothing is missing, the first conversion."""
    return cures[0] if cures else "edgekit init MODEL FOLDER   (writes an edgekit.toml)"


def after_sweep(
    folder: Path, *, complete: bool, failures: bool, front: Sequence[str], source: Path | None
) -> str:
    """What failed and why, what is left, or the files of the front."""
    if not complete and source is not None:
        return command("edgekit", "sweep", source)
    if failures:
        return command("edgekit", "sweep", "status", folder)
    if front:
        return command("edgekit", "sweep", "export", folder, "-o", "best")
    return command("edgekit", "sweep", "results", folder)
