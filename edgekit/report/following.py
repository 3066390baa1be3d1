"""What to type now: the last line of a command and of its page, the same in both."""

from __future__ import annotations

import shlex

from edgekit.results import ConversionResult, FileResult
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
