"""Where a validation's reports go."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.pipeline.publish import all_held, write_whole
from edgekit.report import plots, tensorboard, words
from edgekit.report.junit import to_junit
from edgekit.report.markdown import to_markdown
from edgekit.report.validation import to_html
from edgekit.report.validation_json import to_json
from edgekit.validation_result import ValidationResult

JSON, PAGE = "report.json", "report.html"


@dataclass(frozen=True, kw_only=True)
class Reports:
    """What is written beside what is returned.

    Attributes:
        output: a folder for the page and the JSON.
        pictures: whether the page shows the worst samples.
        junit, markdown: files for CI.
        tensorboard: a folder for TensorBoard.
        force: replace reports that are there.
    """

    output: Path | None = None
    pictures: bool = True
    junit: Path | None = None
    markdown: Path | None = None
    tensorboard: Path | None = None
    force: bool = False

    def check(self) -> None:
        """Refuse before the work what would fail after it.

        Raises:
            UsageError: there is a report already, or a file where a folder is needed.
            SetupError: what draws or writes a report is not installed.
        """
        if self.output is not None:
            plots.require()
            there = [one for one in (JSON, PAGE) if (self.output / one).exists()]
            if there and not self.force:
                raise UsageError(
                    f"There is a {there[0]} in {self.output} already.",
                    cure="Replace it with --force, or name another --output.",
                )
        for option, path in (("--junit", self.junit), ("--markdown", self.markdown)):
            if path is not None:
                _require_free(option, path, force=self.force)
        if self.tensorboard is not None:
            tensorboard.require()
        for folder in (self.output, self.tensorboard):
            if folder is not None:
                _require_folder(folder)

    def held(self) -> AbstractContextManager[None]:
        """Keep all of it for this run.

        Raises:
            SetupError: another run writes there.
        """
        return all_held(files=(self.junit, self.markdown), folders=(self.output, self.tensorboard))

    def write(self, result: ValidationResult) -> list[Path]:
        """Write all that was asked for, where it is `held`.

        Returns:
            The files and folders.

        Raises:
            SetupError: one cannot be written.
        """
        written: list[Path] = []
        texts: list[tuple[Path, str]] = []
        if self.output is not None:
            texts.append((self.output / JSON, to_json(result)))
            texts.append((self.output / PAGE, to_html(result, pictures=self.pictures)))
        if self.junit is not None:
            texts.append((self.junit, junit(result)))
        if self.markdown is not None:
            texts.append((self.markdown, markdown(result)))
        for path, text in texts:
            write_whole(path, text)
            written.append(path)
        if self.tensorboard is not None:
            tensorboard.write_tensorboard(result, self.tensorboard, pictures=self.pictures)
            written.append(self.tensorboard)
        return written


def _require_free(option: str, path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", cure=f"Give {option} the name of a file.")
    if path.exists() and not force:
        raise UsageError(
            f"{path} exists already.", cure=f"Replace it with --force, or name another {option}."
        )
    _require_folder(path.parent)


def _require_folder(folder: Path) -> None:
    nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise UsageError(
            f"{nearest} is a file, and so nothing can be written to {folder}.",
            cure="Name another folder.",
        )


def junit(result: ValidationResult) -> str:
    """The gates as JUnit XML."""
    return to_junit(
        {one.name: one.verdict for one in result.candidates if not one.error},
        errors={one.name: one.error for one in result.candidates if one.error},
        strict=result.strict,
        name="edgekit validate",
    )


def markdown(result: ValidationResult) -> str:
    """The gates as Markdown, for a pull request."""
    data = result.data
    facts = {
        "Reference": f"{result.reference.name} on {result.reference.device}",
        "Data": f"{data.path}, {data.samples:,} samples, {data.labelled:,} with a label",
    }
    said = {"strict": result.strict, "complete": result.complete}
    if not result.complete:
        facts["Incomplete"] = "the run was interrupted"
    return to_markdown(
        {one.name: one.verdict for one in result.candidates if not one.error},
        errors={one.name: one.error for one in result.candidates if one.error},
        strict=result.strict,
        title=f"edgekit validate: {result.title}",
        facts=facts,
        remarks={
            one.name: [
                words.heading(words.sentence(one, **said)) + ".",
                *words.diagnosis(one),
            ]
            for one in result.candidates
        },
    )
