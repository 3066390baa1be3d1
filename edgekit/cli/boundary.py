"""The error boundary: everything that is raised inside becomes words and an exit code here.

Exit codes: 0 ok, 1 internal, 2 usage, 3 conversion failed, 4 gate failed, 5 environment,
6 bad data, 7 a device, 8 not proven, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

from edgekit.cli.terminal import colour, echo
from edgekit.errors import EdgekitError, SetupError, StepError, UsageError
from edgekit.text import escaped

_INTERRUPTED = 130


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command; return its exit code and never raise."""
    code = _run(command, arguments)
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:  # a full disk behind it: else Python's end would tell
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code if isinstance(error, BrokenPipeError) else code or SetupError.exit_code
    return code


def _run(command: click.Command, arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    # OpenCV writes warnings of its own about damaged pictures; ours name the files.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    # A `kill` must clean up like Ctrl-C does: remove the work folder, end the workers.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = command.main(list(arguments), prog_name="edgekit", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _command_line(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(as_json=as_json)
    except EdgekitError as error:
        return _report(error, as_json=as_json)
    except BrokenPipeError:
        sys.stderr.close()  # the reader is gone (`| head`); say nothing more
        return 0
    except OSError as error:
        if error.errno in _MACHINE:
            return _report(_of_the_machine(error), as_json=as_json)
        return _internal(error, as_json=as_json)
    except Exception as error:  # noqa: BLE001  the boundary
        return _internal(error, as_json=as_json)
    return result if isinstance(result, int) else 0


_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENAMETOOLONG, errno.EROFS, errno.EMFILE)
"""What a disk or the system says, wherever it is said."""


def _of_the_machine(error: OSError) -> SetupError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SetupError(f"The disk is full: {error}", cure="Free some space and try again.")
    return SetupError(
        f"{error.filename or 'The system'}: {error.strerror}.", cure="Choose another folder."
    )


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _command_line(error: click.ClickException, *, as_json: bool) -> int:
    """What click itself refuses: an unknown option, a value that is none of the choices."""
    meant = _meant(error)
    if not as_json:
        error.show()
        if meant:
            _say(f"  {meant}")
        return UsageError.exit_code
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "edgekit"
    return _as_json(
        UsageError.kind,
        error.format_message(),
        UsageError.exit_code,
        cure=meant or f"{path} --help",
    )


def _meant(error: click.ClickException) -> str:
    """The choice that is nearest to a word that is none."""
    kind = getattr(getattr(error, "param", None), "type", None)
    said = re.match(r"'(.*)' is not one of ", error.message)
    if not isinstance(kind, click.Choice) or said is None:
        return ""
    near = difflib.get_close_matches(said[1], map(str, kind.choices), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def _interrupted(*, as_json: bool) -> int:
    cause = "Interrupted. Nothing was written or replaced."
    if as_json:
        return _as_json("interrupted", cause, _INTERRUPTED)
    _say(f"\n{cause}")
    return _INTERRUPTED


def _as_json(
    kind: str,
    cause: str,
    exit_code: int,
    *,
    cure: str = "",
    log: Path | None = None,
    step: str | None = None,
) -> int:
    document = {"kind": kind, "cause": cause, "cure": cure, "exit_code": exit_code}
    document |= {"log": str(log) if log else None, "step": step}
    text = json.dumps({"error": document}, indent=2)
    try:
        echo(text)
    except OSError:  # standard output is what cannot be written to
        _say(text)
    return exit_code


def _say(text: str, *, nl: bool = True, **style: Any) -> None:
    """Write to standard error; where even that cannot be written to, the exit code has to do."""
    with contextlib.suppress(OSError):
        click.secho(escaped(text, keep="\n\t"), nl=nl, err=True, color=colour(), **style)


def _report(error: EdgekitError, *, as_json: bool) -> int:
    if as_json:
        return _as_json(
            error.kind,
            error.cause,
            error.exit_code,
            cure=error.cure,
            log=error.log,
            step=error.step if isinstance(error, StepError) else None,
        )
    _say("Error: ", fg="red", bold=True, nl=False)
    _say(error.cause)
    if isinstance(error, StepError) and error.done:
        _say(f"  Failed in: {error.step}, after: {', '.join(dict.fromkeys(error.done))}")
    if error.cure:
        _say("  Cure: ", fg="green", nl=False)
        _say(error.cure)
    if error.log:
        _say(f"  Log: {error.log}")
    return error.exit_code


def _internal(error: BaseException, *, as_json: bool) -> int:
    """A bug of ours: the traceback goes to a file, the user gets its name."""
    log: Path | None = None
    try:
        from edgekit.toolchain import home

        # Named and placed like a run's own, so that it is pruned with them.
        folder = home.logs() / f"{time.strftime('%Y%m%d-%H%M%S')}-internal"
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "traceback.log"
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        traceback.print_exception(error)
    bug = EdgekitError(
        f"edgekit itself failed: {type(error).__name__}: {error}",
        cure="This is a bug. Please report it with the log.",
        log=log,
    )
    return _report(bug, as_json=as_json)
