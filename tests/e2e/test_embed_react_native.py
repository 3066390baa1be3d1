"""`edgekit embed --target react-native`: types checked by tsc, every stage run in Node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import edgekit

from .conftest import REPOSITORY
from .embed_cases import BOXED, DECODERS, FORMS, PHOTOS, REAL, RESIZES, SEQUENCES, drawn

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")),
        reason="no Node.js here: apt-get install nodejs npm",
    ),
]
CASES = (*DECODERS, *FORMS, *SEQUENCES, *RESIZES, *BOXED, "raw_pixels", "labelled")
STAGES = {"resize", "normalise", "decode"}
STUB = REPOSITORY / "tests" / "e2e" / "react_native"


def command(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def suite(embed_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module for each case, compiled in one go with the modules' own options."""
    folder = tmp_path_factory.mktemp("react-native")
    jobs = [(name, embed_files[name], {}) for name in REAL] + list(drawn(folder))
    for name, file, options in jobs:
        result = edgekit.embed(
            file,
            target="react-native",
            output=folder / name,
            name=name,
            golden=2,
            **{"samples": PHOTOS, **options},
        )
        assert result.wrapper_lines < 350
    shutil.copy(folder / name / "package.json", folder)
    shutil.copy(folder / name / ".npmrc", folder)
    install = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
    done = command(*install, folder=folder)
    if done.returncode != 0:
        pytest.skip(f"npm cannot fetch the packages: {done.stderr[-500:]}")
    options = json.loads((folder / name / "tsconfig.json").read_text())
    options["include"] = ["*/src", "*/test"]
    (folder / "tsconfig.json").write_text(json.dumps(options))
    done = command(folder / "node_modules" / ".bin" / "tsc", folder=folder)
    assert done.returncode == 0, done.stdout[-3000:]
    for name, _, _ in jobs:
        (folder / name / "dist").symlink_to(folder / "dist" / name)
    return folder


def states(module: Path) -> dict[str, str]:
    """Each stage with its worst state, as the module's own test says it."""
    program = ("node", "--test", "--test-reporter=tap", "test/golden.test.mjs")
    done = command(*program, folder=module)
    found: dict[str, str] = {}
    for bad, stage in re.findall(r"^(not )?ok \d+ - (\w+), sample", done.stdout, re.MULTILINE):
        found[stage] = "FAIL" if bad or found.get(stage) == "FAIL" else "ok"
    assert found, done.stdout + done.stderr
    assert done.returncode == int("FAIL" in found.values())
    return found


@pytest.mark.parametrize("name", [*REAL, *CASES])
def test_every_stage_of_every_case_agrees(suite: Path, name: str) -> None:
    boxes = name.startswith(("detector", "letterbox")) or name in DECODERS
    assert states(suite / name) == dict.fromkeys(STAGES | ({"locate"} if boxes else set()), "ok")


def test_a_picture_moved_in_its_letterbox_fails_at_resize_and_locate(suite: Path) -> None:
    module = shutil.copytree(suite / "letterbox", suite / "moved", symlinks=False)
    (source,) = (module / "dist" / "src").glob("letterbox.js")
    text = source.read_text()
    assert "(HEIGHT - height) / 2" in text
    source.write_text(text.replace("(HEIGHT - height) / 2", "(HEIGHT - height) / 3"))
    failing = {stage for stage, state in states(module).items() if state == "FAIL"}
    assert failing == {"resize", "locate"}


@pytest.mark.parametrize(
    ("name", "refused", "delegates"),
    [
        ("detector_int8", [], ["core-ml"]),
        ("classifier_fp32", ["core-ml"], ["nnapi"]),
        ("letterbox_end", ["core-ml", "nnapi"], []),
    ],
)
def test_the_model_hands_over_bytes_and_takes_the_first_accelerator_that_loads(
    suite: Path, name: str, refused: list[str], delegates: list[str]
) -> None:
    """On a stand-in for the package that answers the golden input with the golden outputs."""
    packages = suite / "dist" / name / "node_modules" / "react-native-fast-tflite"
    if not packages.exists():
        shutil.copytree(STUB / "package", packages)
    done = command(
        "node", STUB / "check.mjs", suite / name, json.dumps(refused), folder=suite / name
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == delegates
