"""`edgekit embed` for React Native and Flutter: what can be run in Node, and what can be parsed.

React Native's TypeScript is checked by tsc against the real package's types. There is no SDK of
Dart: it is parsed, and its stages are run as JavaScript (`tests/e2e/dart_as_js.py`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import edgekit
from edgekit.embed import EmbedResult
from edgekit.embed.render import load_target, render

from .conftest import REPOSITORY
from .dart_as_js import javascript
from .embed_cases import BOXED, DECODERS, FORMS, PHOTOS, REAL, RESIZES, SEQUENCES, drawn
from .runtime_envs import environment

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")),
        reason="no Node.js here: apt-get install nodejs npm",
    ),
]
CASES = (*DECODERS, *FORMS, *SEQUENCES, *RESIZES, *BOXED, "raw_pixels", "labelled")
STAGES = {"resize", "normalise", "decode"}
DART_PARSER = ("tree-sitter==0.26.1", "tree-sitter-dart==0.1.0")
STUB = REPOSITORY / "tests" / "e2e" / "react_native"


def command(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def made(
    embed_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, EmbedResult]:
    """A module for React Native for each case."""
    folder = tmp_path_factory.mktemp("react-native")
    jobs = [(name, embed_files[name], {}) for name in REAL] + list(drawn(folder))
    return {
        name: edgekit.embed(
            file,
            target="react-native",
            output=folder / name,
            name=name,
            golden=2,
            **{"samples": PHOTOS, **options},
        )
        for name, file, options in jobs
    }


@pytest.fixture(scope="module")
def dart(made: dict[str, EmbedResult]) -> dict[str, dict[str, str]]:
    """What Flutter's package has for each case, by path."""
    target = load_target("flutter")
    told = {"costs": (), "samples": 2, "samples_from": "photos", "version": "0"}
    model = Path("none")
    return {name: render(target, result.spec, model, **told) for name, result in made.items()}


@pytest.fixture(scope="module")
def suite(made: dict[str, EmbedResult]) -> Path:
    """The folder of the modules, compiled in one go with their own options."""
    assert max(result.wrapper_lines for result in made.values()) < 350
    name, folder = next((name, result.output.parent) for name, result in made.items())
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
    for name in made:
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


@pytest.mark.parametrize("name", [*REAL, *CASES])
def test_the_stages_in_dart_compute_the_same(
    made: dict[str, EmbedResult], suite: Path, dart: dict[str, dict[str, str]], name: str
) -> None:
    module = suite / f"dart_{name}"
    shutil.copytree(suite / name, module, ignore=shutil.ignore_patterns("node_modules"))
    source = module / "dist" / "src" / f"{made[name].spec.names.kebab}.js"
    source.write_text(
        javascript(dart[name]["lib/src/stages.dart"], dart[name]["lib/src/tables.dart"])
    )
    assert set(states(module).values()) == {"ok"}


def test_every_file_is_dart(dart: dict[str, dict[str, str]], tmp_path: Path) -> None:
    for name, texts in dart.items():
        for path, text in texts.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text, "utf-8")
    python = environment(*DART_PARSER) / "python"
    script = Path(__file__).with_name("dart_errors.py")
    said = json.loads(command(python, script, tmp_path, folder=tmp_path).stdout)
    assert said == {"files": 5 * len(dart), "errors": []}
    (tmp_path / "wrong.dart").write_text("int one( { return 1; }")
    assert json.loads(command(python, script, tmp_path, folder=tmp_path).stdout)["errors"]
