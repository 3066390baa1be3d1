"""Looking a machine over: what a conversion needs, what is there, what to type if not."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from edgekit.errors import EdgekitError, SetupError
from edgekit.toolchain import environments, home
from edgekit.toolchain.bounds import Bounds
from edgekit.toolchain.converters import Converter, discover
from edgekit.toolchain.interpreters import find_python, uv
from edgekit.toolchain.worker import Worker
from edgekit.toolchain.workshop import versions

_NEEDED_GB = 3.0
_CORE = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "ai-edge-litert",
    "litert-quantizer",
    "psutil",
)


EXTRAS = {
    "torch": ("PyTorch models", ("torch", "onnx", "onnxscript", "safetensors", "matplotlib")),
    "keras": (
        "Keras models and SavedModels",
        ("tensorflow-cpu", "keras", "tf2onnx", "onnx", "matplotlib"),
    ),
    "validate": ("COCO's own average precision for detectors", ("pycocotools",)),
    "report": ("plots in the pages of validate", ("matplotlib",)),
    "tensorboard": ("validate --tensorboard", ("tensorboard",)),
    "mlflow": ("runs of sweeps in MLflow", ("mlflow",)),
    "ray": ("jobs on more than one machine", ("ray",)),
}
"""The extras of the distribution: what each is for, and its packages as in pyproject.toml."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding. ``optional`` is missing too, but only some conversions need it."""

    name: str
    state: Literal["ok", "optional", "missing"]
    found: str = ""
    cure: str = ""


def examine() -> list[Check]:
    """All checks; nothing is built or changed, and no back end is imported."""
    return [
        _python(),
        *_packages(),
        *map(_extra, EXTRAS),
        _uv(),
        *map(_converter, discover().values()),
        _disk(),
        _containment(),
    ]


def _python() -> Check:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return Check(name="Python", state="ok", found=f"{found} ({sys.executable})")


def _packages() -> list[Check]:
    found = versions(_CORE)
    checks = [
        Check(name=name, state="ok", found=found[name])
        if name in found
        else Check(name=name, state="missing", cure=f"pip install {name}")
        for name in _CORE
    ]
    if "opencv-python-headless" in found and versions(["opencv-python"]):
        checks.append(
            Check(
                name="OpenCV twice",
                state="optional",
                found="opencv-python overwrites files of opencv-python-headless",
                cure="pip uninstall opencv-python, then pip install --force-reinstall "
                "opencv-python-headless",
            )
        )
    return checks


def _extra(name: str) -> Check:
    """One of the distribution's extras: what it is for, and what of it is missing."""
    title, packages = f"[{name}]", EXTRAS[name][1]
    missing = [one for one in packages if one not in versions(packages)]
    if not missing:
        return Check(name=title, state="ok", found=EXTRAS[name][0])
    return Check(
        name=title,
        state="optional",
        found=f"{EXTRAS[name][0]}: lacks {', '.join(missing)}",
        cure=f"pip install 'edgekit-tflite[{name}]'",
    )


def _uv() -> Check:
    try:
        return Check(name="uv", state="ok", found=uv())
    except SetupError as error:
        return Check(name="uv", state="missing", cure=error.cure)


def _converter(converter: Converter) -> Check:
    name = f"{converter.name} converter"
    if converter.environment == "host":
        if missing := environments.missing_modules(converter):
            return Check(
                name=name,
                state="optional",
                found=f"lacks {', '.join(missing)}",
                cure=converter.install,
            )
        found = versions(converter.versions)
        return Check(name=name, state="ok", found=", ".join(f"{k} {v}" for k, v in found.items()))
    if environments.is_ready(converter):
        return Check(name=name, state="ok", found=str(environments.location(converter)))
    try:
        python = find_python(converter.python)
    except SetupError as error:
        return Check(name=name, state="optional", found=error.cause, cure=error.cure)
    return Check(
        name=name,
        state="optional",
        found=f"not built yet (Python: {python})",
        cure=f"edgekit toolchain install {converter.name} (or it is built when first needed)",
    )


def _disk() -> Check:
    folder = home.home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    enough = free >= _NEEDED_GB and os.access(folder, os.W_OK)
    return Check(
        name="space for environments",
        state="ok" if enough else "missing",
        found=f"{free:.0f} GB free in {folder}",
        cure="" if enough else "Free 3 GB, or set EDGEKIT_HOME to another folder.",
    )


def _containment() -> Check:
    """What a model's code can do here, found by trying."""
    name = "containment of models"
    try:
        with TemporaryDirectory(prefix="edgekit-doctor-") as folder:
            work, outside = Path(folder, "work"), Path(folder, "outside")
            for one in (work, outside):
                one.mkdir()
            (outside / "there").touch()
            with Worker(
                Path(__file__).with_name("containment_probe.py"),
                python=sys.executable,
                log=Path(folder, "log"),
                name="doctor",
                seconds=30,
                bounds=Bounds(write=(work,), read=(), code=False),
            ) as worker:
                found = worker.call("attempt", {"folder": str(outside)}).result
    except (EdgekitError, OSError) as error:
        return Check(name=name, state="optional", found=f"could not be tried: {error}")
    done = found["done"]
    if not done:
        by = f"{found['files']}, seccomp"
        held = f"writing, reading, programs, network: held by the kernel ({by})"
        return Check(name=name, state="ok", found=held)
    return Check(
        name=name,
        state="optional",
        found=f"not held by this kernel: {', '.join(done)}",
        cure="Open files of people you trust only, or use Linux 5.13 or newer on x86-64 or "
        "aarch64, or install Bubblewrap (apt install bubblewrap); docs/security.md says what this "
        "means.",
    )
