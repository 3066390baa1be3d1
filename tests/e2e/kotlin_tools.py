"""The real Kotlin compiler and JUnit, and modules for Android compiled and run by them on the JVM.

The tools lie in ``~/.cache/edgekit-tests/kotlin`` and are fetched once: the compiler from npm,
JUnit from Debian. Where a tool cannot be had the tests are skipped, with the reason.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import ai_edge_litert
import pytest

from edgekit.embed import EmbedResult

PROGRAMS = {
    "javac": "openjdk-17-jdk-headless",
    "npm": "npm",
    "g++": "g++",
    "apt-get": "apt",
    "dpkg": "dpkg",
}
COMPILER = "kotlin-compiler@2.4.20"
FOLDER = Path.home() / ".cache" / "edgekit-tests" / "kotlin"
SOURCES = Path(__file__).with_name("kotlin")
LITERT = Path(ai_edge_litert.__file__).with_name("libLiteRt.so")

_ARRAYS = {
    "float32": "FloatArray",
    "int8": "ByteArray",
    "uint8": "ByteArray",
    "int16": "ShortArray",
    "int32": "IntArray",
    "int64": "LongArray",
}
_RUNNER = """package {package}

import edgekit.testing.LiteRt

class NativeRunner : Runner {{
    private val model = LiteRt({count})

    override fun run(tensor: {input}): Outputs {{
        model.run(tensor)
        return Outputs({outputs})
    }}

    override fun close() = model.close()
}}
"""


@dataclass(frozen=True)
class Tools:
    """The compiler, the jars on every class path, and LiteRT for the JVM."""

    compiler: Path
    jars: tuple[Path, ...]
    jni: Path


def tools(folder: Path) -> Tools:
    """Fetched and built if need be; the test is skipped where that cannot be.

    Args:
        folder: for what is built from this repository's sources.
    """
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            pytest.skip(f"Kotlin modules are tested with {program}: apt-get install {package}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        compiler, jars = _compiler(), _junit()
    return Tools(
        compiler / "bin" / "kotlinc", (compiler / "lib" / "kotlin-stdlib.jar", *jars), _jni(folder)
    )


def _compiler() -> Path:
    package = FOLDER / "package"
    if not (package / "complete").exists():
        _fetch(["npm", "pack", COMPILER])
        (archive,) = FOLDER.glob("kotlin-compiler-*.tgz")
        with tarfile.open(archive) as contents:
            contents.extractall(FOLDER, filter="data")
        (package / "complete").touch()
        archive.unlink()
    return package


def _junit() -> tuple[Path, Path]:
    share = FOLDER / "junit" / "usr" / "share" / "java"
    if not (share / "junit4.jar").exists():
        packages = ["junit4", "libhamcrest-java"]
        _fetch(["apt-get", "-o", "APT::Sandbox::User=root", "download", *packages])
        for debian in FOLDER.glob("*.deb"):
            _fetch(["dpkg", "-x", str(debian), str(FOLDER / "junit")])
            debian.unlink()
    return share / "junit4.jar", share / "hamcrest.jar"


def _fetch(command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        pytest.skip(f"{' '.join(command[:2])} failed here: {done.stderr.strip()[-300:]}")


def _jni(folder: Path) -> Path:
    """The shared library with which the JVM runs LiteRT, on litert.hpp."""
    java = Path(os.path.realpath(shutil.which("javac") or "")).parents[1] / "include"
    library = folder / "liblitert_jni.so"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{folder}", f"-I{java}"]
    command += [f"-I{java / 'linux'}", str(SOURCES / "litert_jni.cpp"), "-o", str(library)]
    command += [str(LITERT), f"-Wl,-rpath,{LITERT.parent}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return library


def package_of(module: Path) -> str:
    """The Kotlin package of a module."""
    (wrapper,) = (module / "src" / "main" / "kotlin" / "edgekit").iterdir()
    return f"edgekit.{wrapper.name}"


def add_native_runner(result: EmbedResult) -> None:
    """A `Runner` on LiteRT's own library, for `ServiceLoader`; it goes with the JVM's tests."""
    spec, package = result.spec, package_of(result.output)
    reads = (
        f"model.read({tensor.signature_place}, {_ARRAYS[tensor.dtype]}({tensor.size}))"
        for tensor in spec.tensors
    )
    test = result.output / "src" / "test"
    (test / "kotlin" / "NativeRunner.kt").write_text(
        _RUNNER.format(
            package=package,
            count=len(spec.tensors),
            input=_ARRAYS[spec.input.tensor.dtype],
            outputs=", ".join(reads),
        ),
        encoding="utf-8",
    )
    services = test / "resources" / "META-INF" / "services"
    services.mkdir(parents=True)
    (services / f"{package}.Runner").write_text(f"{package}.NativeRunner\n")


def add_check(module: Path, name: str) -> None:
    """A program of `SOURCES` in the module's own package."""
    text = (SOURCES / name).read_text(encoding="utf-8")
    text = text.replace("edgekit.PACKAGE", package_of(module))
    (module / "src" / "test" / "kotlin" / name).write_text(text, encoding="utf-8")


def renamed(module: Path, copy: Path) -> Path:
    """The module once more in a package of its own, so that both can be compiled at once."""
    shutil.copytree(module, copy)
    package = package_of(module)
    other = f"edgekit.{copy.name}"
    for file in [*copy.rglob("*.kt"), *copy.rglob("META-INF/services/*")]:
        file.write_text(re.sub(rf"{re.escape(package)}\b", other, file.read_text("utf-8")), "utf-8")
    (source,) = (copy / "src" / "main" / "kotlin" / "edgekit").iterdir()
    source.rename(source.with_name(copy.name))
    for service in copy.rglob("META-INF/services/*"):
        service.rename(service.with_name(f"{other}.Runner"))
    return copy


def compiled(kit: Tools, modules: list[Path], folder: Path, *, android: bool) -> Path:
    """Classes of modules with their tests; with what needs Android only where that is asked for."""
    sources = [SOURCES / "LiteRt.kt", SOURCES / "Main.kt"]
    if android:
        sources += [*(SOURCES / "android_stubs").glob("*.kt")]
    for module in modules:
        for file in sorted(module.rglob("*.kt")):
            if android or (file.name != "LiteRt.kt" and "androidTest" not in file.parts):
                sources.append(file)
    classes = folder / "classes"
    arguments = folder / "arguments"
    path = os.pathsep.join(map(str, kit.jars))
    words = ["-no-stdlib", "-no-reflect", "-Werror", "-cp", path, "-d", classes, *sources]
    arguments.write_text("\n".join(f'"{word}"' for word in words), encoding="utf-8")
    done = subprocess.run(
        ["bash", str(kit.compiler), f"@{arguments}"],
        env={**os.environ, "JAVA_OPTS": "-Xmx1500M -XX:+UseSerialGC -XX:TieredStopAtLevel=1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return classes


def java(
    kit: Tools,
    classes: Path,
    main: str,
    *words: str,
    path: tuple[Path, ...] = (),
    **properties: object,
) -> str:
    """What a program of those classes prints; properties go by the name ``edgekit.NAME``."""
    options = [f"-Dedgekit.{name}={value}" for name, value in properties.items()]
    where = os.pathsep.join(map(str, (classes, *path, *kit.jars)))
    done = subprocess.run(
        ["java", "-Xmx512M", *options, "-cp", where, main, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def golden_test(kit: Tools, classes: Path, module: Path) -> dict[str, str]:
    """Each stage's state, as JUnit says it of the module's own test."""
    (model,) = (module / "src" / "main" / "assets").glob("*.tflite")
    resources = (
        module / "src" / "sharedTest" / "resources",
        module / "src" / "test" / "resources",
    )
    test = f"{package_of(module)}.GoldenTest"
    said = java(
        kit, classes, "edgekit.testing.MainKt", test, path=resources, model=model, jni=kit.jni
    )
    states = re.findall(r"^(\w+) ((?:ok|FAIL|SKIP).*)$", said, re.MULTILINE)
    assert states, said
    return dict(states)
