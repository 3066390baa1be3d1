"""Vela: compiles what the Ethos-U can compute, and leaves the rest in the file."""

import contextlib
import csv
import os
import re
import sys
from pathlib import Path

from ethosu.vela import vela

from edgekit_worker import WorkerError

REFUSED = re.compile(r"operator: (\S+), ofm: '(.*)'\s*\nReason: ((?:.+\n?)+)")
KIB = 1024


def compile_file(request, progress):
    """Compile ``artifact`` for ``target`` into ``folder``.

    Returns ``artifact``, ``refused`` (pairs of an operator's first output and why it stays on the
    CPU) and ``figures``.
    """
    folder = Path(request["folder"])
    words = ["--output-dir", str(folder), "--accelerator-config", request["target"]]
    for name, value in request["options"].items():
        words += [f"--{name}", value]
    said = folder / "vela.txt"
    with printed_to(said):
        try:
            code = vela.main([*words, request["artifact"]])
        except SystemExit as error:  # its parser of options
            code = error.code
        except KeyError as error:  # of its enumerations
            raise WorkerError(f"Vela does not know {error}.", kind="usage") from error
        except Exception as error:
            # Whatever its own code raises is what it says about this file.
            raise WorkerError(f"Vela: {' '.join(str(error).split())}") from error
    text = said.read_text(encoding="utf-8", errors="replace")
    if code:
        raise WorkerError(f"Vela: {last_line(text)}", kind="usage")
    (made,) = folder.glob("*_vela.tflite")
    (summary,) = folder.glob("*_summary_*.csv")
    return {
        "artifact": str(made),
        "refused": [[found[2], reason_of(found[3])] for found in REFUSED.finditer(text)],
        "figures": figures(summary),
    }


def figures(path):
    """What Vela expects of the whole file, in bytes, cycles and hertz."""
    with path.open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)

    def number(name, unit=1.0):
        value = float(row[name])
        return value * unit if value == value else 0.0  # NaN where nothing runs there

    flash = number("on_chip_flash_memory_used", KIB) + number("off_chip_flash_memory_used", KIB)
    return {
        "sram_bytes": round(number("sram_memory_used", KIB)),
        "dram_bytes": round(number("dram_memory_used", KIB)),
        "flash_bytes": round(flash),
        "macs": round(number("nn_macs")),
        "cycles": round(number("cycles_total")),
        "inferences_per_second": number("inferences_per_second"),
        "clock_hz": number("core_clock"),
        "system": row["system_config"],
        "memory_mode": row["memory_mode"],
    }


def reason_of(text):
    """What it says of this operator, without the tensor that it names; its rule, if one line.

    A rule of many lines is the whole table of what is taken.
    """
    first, *rule = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    said = re.sub(r" \([^()]*\)$", "", first)
    return f"{said}: {rule[0]}" if len(rule) == 1 else said


def last_line(text):
    """What it said at the end."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("vela: error: ") if lines else "it did not say why"


@contextlib.contextmanager
def printed_to(path):
    """Both standard streams into a file, those of native code too; then into the log."""
    kept = os.dup(1), os.dup(2)
    with path.open("wb") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        try:
            yield
        finally:
            flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
    os.write(1, path.read_bytes())


def flush():
    """What Python holds back."""
    sys.stdout.flush()
    sys.stderr.flush()
