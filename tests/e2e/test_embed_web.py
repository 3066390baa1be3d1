"""`edgekit embed --target web`: compiled by tsc, run in a browser, and broken on purpose."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgekit
from edgekit.devices.web import package
from edgekit.embed.golden import read_golden
from edgekit.errors import UsageError
from edgekit.tflite.model import read, write

from .browser import Page, chromium, find
from .conftest import REPOSITORY
from .embed_cases import PHOTOS, drawn
from .embed_models import converted

sys.path.insert(0, str(REPOSITORY / "tests" / "unit"))

from embed_nets import net_with

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")),
        reason="no Node.js here: apt-get install nodejs npm",
    ),
]
NAMES = ("classifier", "detector", "segmenter")
SCHEMES = ("fp32", "int8-float-io", "int8-uint8-io")
CASES = ("grid", "planes_first", "ctc_turned", "lanczos_antialias", "letterbox", "labelled")
"""The same code runs for every case in Node (`test_embed_crossplatform.py`)."""


@pytest.fixture(scope="module")
def models() -> Callable[[str, str], Path]:
    """A network's file in a scheme, converted when it is first asked for."""

    def get(name: str, scheme: str) -> Path:
        return converted(name) / f"{name}_{scheme.replace('-', '_')}.tflite"

    return get


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``node_modules`` of a module's package.json, installed once for all modules."""
    folder = tmp_path_factory.mktemp("npm")
    file = net_with(folder / "net.tflite", {"o": (1, 5)}, task="regression")
    module = folder / "module"
    edgekit.embed(file, target="web", output=module, samples=PHOTOS)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command, cwd=module, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode != 0:
        pytest.skip(f"npm cannot fetch the packages: {done.stderr[-500:]}")
    return module / "node_modules"


@pytest.fixture
def web(packages: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a module and gives it its packages."""

    def write(file: Path, **options: object) -> Path:
        module = tmp_path / "module"
        result = edgekit.embed(file, target="web", output=module, **{"samples": PHOTOS, **options})
        assert result.wrapper_lines < 320
        (module / "node_modules").symlink_to(packages)
        return module

    return write


def compiled(module: Path) -> Path:
    """Run the compiler, strict as tsconfig.json says."""
    tsc = [str(module / "node_modules" / ".bin" / "tsc")]
    done = subprocess.run(tsc, cwd=module, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return module


def golden_test(module: Path, **environment: str) -> tuple[int, dict[str, str], str]:
    """Compile and run: the exit code, each stage with its worst state, and where it ran."""
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "test/golden.test.mjs"],
        cwd=compiled(module),
        env={**os.environ, "CHROMIUM": find() or "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    stages: dict[str, str] = {}
    for bad, stage in re.findall(r"^(not )?ok \d+ - (\w+), sample", done.stdout, re.MULTILINE):
        stages[stage] = "FAIL" if bad or stages.get(stage) == "FAIL" else "ok"
    assert stages, done.stdout + done.stderr
    where = re.search(r"on (wasm|webgpu);", done.stdout)
    return done.returncode, stages, where.group(1) if where else ""


def failing(stages: dict[str, str]) -> list[str]:
    return [stage for stage, state in stages.items() if state == "FAIL"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NAMES)
def test_every_stage_agrees(models, web, name, scheme):
    code, stages, where = golden_test(web(models(name, scheme)))
    wanted = {"resize", "normalise", "inference", "decode"}
    assert stages == dict.fromkeys(wanted | ({"locate"} if name == "detector" else set()), "ok")
    assert (code, where) == (0, "wasm")


@pytest.fixture(scope="module")
def lite0(efficientnet, tmp_path_factory) -> dict[str, Path]:
    """EfficientNet-Lite0 in float, and in int8 with float inputs and outputs."""
    given = efficientnet / "efficientnet_lite0_fp32.tflite"
    folder = tmp_path_factory.mktemp("lite0")
    command = [sys.executable, "-m", "edgekit", "quantize", str(given), "--output", str(folder)]
    command += ["--scheme", "int8-float-io", "--effort", "fast", "--calibration", str(PHOTOS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    (quantized,) = folder.glob("*_int8_float_io.tflite")
    assert done.returncode in (0, 4, 8), done.stdout + done.stderr  # 4: a gate; not what is tested
    return {"fp32": given, "int8-float-io": quantized}


@pytest.mark.parametrize("scheme", ["fp32", "int8-float-io"])
def test_efficientnet(lite0, web, scheme):
    code, stages, _ = golden_test(web(lite0[scheme]))
    assert code == 0, stages


@pytest.mark.parametrize("name", NAMES)
def test_int8_at_the_ends_is_refused_with_what_works(models, tmp_path, name):
    with pytest.raises(UsageError, match="image is int8") as error:
        edgekit.embed(
            models(name, "int8"), target="web", output=tmp_path / "module", samples=PHOTOS
        )
    assert "--scheme int8-float-io" in error.value.cure
    assert not (tmp_path / "module").exists()


FAULTS = {
    "another resize": ("(wanted + 0.5) * step(given, size) - 0.5", "wanted * step(given, size)"),
    "red and blue swapped": ("const from = channel;", "const from = 2 - channel;"),
    # The compiler would name a constant that nobody uses.
    "no mean": (" - MEAN[channel]!)", " - 0 * MEAN[channel]!)"),
    "another scale of the output": ("* f32(scale)", "* f32(2 * scale)"),
}
FAILING = dict(zip(FAULTS, ("resize", "normalise", "normalise", "decode"), strict=True))


@pytest.mark.parametrize(
    ("fault", "scheme"), zip(FAULTS, ("fp32", "int8-float-io") * 2, strict=True)
)
def test_a_planted_fault_fails_at_its_stage_and_no_other(models, web, fault, scheme):
    module = web(models("classifier", scheme))
    (source,) = (module / "src").glob("classifier-*.ts")
    right, wrong = FAULTS[fault]
    text = source.read_text(encoding="utf-8")
    assert right in text
    source.write_text(text.replace(right, wrong), encoding="utf-8")
    code, stages, _ = golden_test(module)
    assert code == 1
    assert failing(stages) == [FAILING[fault]]


def test_another_model_fails_at_inference(models, web):
    module = web(models("classifier", "int8-float-io"))
    (model,) = (module / "model").glob("*.tflite")
    other = bytearray(model.read_bytes())
    # The largest buffer has the weights of the dense layer; they lie in the middle of the file.
    middle = len(other) // 2
    other[middle : middle + 4000] = bytes(4000)
    model.write_bytes(other)
    code, stages, _ = golden_test(module)
    assert code == 1
    assert failing(stages) == ["inference"]


@pytest.mark.parametrize(
    "without",
    [
        "navigator.gpu.requestAdapter = async () => null;",
        'Object.defineProperty(Navigator.prototype, "gpu", { value: undefined });',
    ],
)
def test_webassembly_takes_over_where_there_is_no_gpu(models, web, without):
    module = web(models("segmenter", "fp32"), delegate="gpu", threads=2)
    page = module / "test" / "index.html"
    page.write_text(page.read_text().replace("<h1>", f"<script>{without}</script><h1>"))
    code, _, where = golden_test(module, ACCELERATOR="webgpu")
    assert (code, where) == (0, "wasm")


def test_webgpu_computed_in_software(models, web):
    """Chromium brings SwiftShader, a GPU without a GPU."""
    flags = "--use-webgpu-adapter=swiftshader"
    module = web(models("detector", "fp32"))
    code, stages, where = golden_test(module, ACCELERATOR="webgpu", CHROMIUM_FLAGS=flags)
    if where == "wasm":
        pytest.skip("this browser has no WebGPU in software")
    assert code == 0, stages


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The nets for every case, and the options of each."""
    folder = tmp_path_factory.mktemp("drawn")
    return {name: (file, options) for name, file, options in drawn(folder)}


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_each_kind_in_a_browser(cases, web, name):
    file, options = cases[name]
    module = web(file, **options)
    golden = read_golden(module / "golden")
    assert any(golden["result", sample].values.size for sample in range(3)), "nothing to decode"
    code, stages, _ = golden_test(module)
    assert code == 0, stages


def test_outputs_in_another_order_in_the_signature(tmp_path, web):
    """The runtime numbers outputs as the graph does, in whatever order the signature lists them."""
    shapes = {"scores": (1, 5), "also": (1, 5), "more": (1, 7)}
    file = net_with(tmp_path / "net.tflite", shapes, task="classification")
    model = read(file)
    model.raw.signatureDefs[0].outputs.reverse()
    write(model, file)
    code, stages, _ = golden_test(web(file))
    assert code == 0, stages


APP = """
import { Model, pictureOf } from "NAME";
import type { Result } from "NAME";

export async function best(file: File): Promise<Result> {
  const model = await Model.load({ model: "/model.tflite", wasm: "/wasm/", threads: 2 });
  return model.predict(await pictureOf(file));
}
"""


def test_an_app_compiles_with_the_package(models, web, tmp_path):
    module = compiled(web(models("detector", "fp32")))
    app = tmp_path / "app"
    (app / "node_modules").mkdir(parents=True)
    (app / "node_modules" / "detector-fp32").symlink_to(module)
    (app / "package.json").write_text('{"name": "app", "private": true, "type": "module"}')
    (app / "app.ts").write_text(APP.replace("NAME", "detector-fp32"))
    options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022"]
    tsc = [str(module / "node_modules" / ".bin" / "tsc"), *options, "app.ts"]
    done = subprocess.run(tsc, cwd=app, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_runtime_is_the_one_of_the_web_device(packages):
    """Both are measured with one version, and npm gave the bytes that edgekit's lock has."""
    lock = json.loads((packages / ".package-lock.json").read_text())["packages"]
    held = json.loads((package.PAGE / "package-lock.json").read_text())["packages"]
    for name in ("node_modules/@litertjs/core", "node_modules/@litertjs/wasm-utils"):
        assert lock[name]["version"] == held[name]["version"]
        assert lock[name]["integrity"] == held[name]["integrity"]


@contextmanager
def demo(module: Path, profile: Path, *options: str) -> Iterator[Page]:
    """The demo page in a browser, with the model loaded."""
    server = subprocess.Popen(
        ["node", "serve.mjs", "demo/", "0"], cwd=module, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip()
        with chromium(profile, *options) as page:
            page.call("Page.navigate", url=address.replace("localhost", "127.0.0.1"))
            until(page, "Choose a picture")
            yield page
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


def until(page: Page, words: str) -> str:
    """Wait until the page's state begins with, or has, these words."""
    deadline = time.monotonic() + 60
    while True:
        state = page.js("document.querySelector('#state')?.textContent") or ""
        if words in state:
            return str(state)
        assert time.monotonic() < deadline, state
        time.sleep(0.2)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_is_chosen_in_the_demo(models, web, tmp_path, suffix):
    """From the file to the list: the same classes and probabilities as the reference has."""
    module = compiled(web(models("classifier", "fp32")))
    golden = read_golden(module / "golden")
    picture = tmp_path / f"picture{suffix}"
    cv2.imwrite(str(picture), golden["picture", 0].values[..., ::-1])
    decoded = cv2.imread(str(picture))[..., ::-1]
    with demo(module, tmp_path / "profile") as page:
        root = page.call("DOM.getDocument")["root"]["nodeId"]
        node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        page.call("DOM.setFileInputFiles", nodeId=node, files=[str(picture)])
        until(page, "ms on wasm")
        shown = page.js("[...document.querySelectorAll('li')].map(one => one.textContent)")
        pixels = page.js(PIXELS)
        for width in (390, 1280):
            size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
            page.call("Emulation.setDeviceMetricsOverride", **size)
            assert page.js("document.documentElement.scrollWidth") <= width
        assert background(page, "light") != background(page, "dark")
    seen = np.array(pixels, np.uint8).reshape(*decoded.shape[:2], 4)[..., :3]
    assert np.abs(seen.astype(int) - decoded).max() <= (0 if suffix == ".png" else 1)
    if suffix == ".png":
        labels = ("Katze", "Straßenbahn", "猫", "four", "five", "six", "seven", "eight")
        best = golden["result", 0].values
        assert shown == [f"{labels[int(number)]}{100 * share:.1f} %" for number, share in best]


def test_the_demo_runs_on_the_camera_until_it_is_stopped(models, web, tmp_path):
    """On the pictures of the camera that Chromium draws by itself, 640 x 480."""
    module = compiled(web(models("classifier", "fp32")))
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with demo(module, tmp_path / "profile", *fake) as page:
        click = "document.querySelector('#camera').click()"
        page.js(f"{click}; void 0")
        assert "picture 640 × 480" in until(page, "ms on wasm")
        assert page.js("document.querySelector('#camera').textContent") == "Stop camera"
        assert page.js("document.querySelectorAll('li').length") == 5
        page.js(f"{click}; void 0")
        assert page.js("document.querySelector('#camera').textContent") == "Start camera"


def test_the_demo_says_why_it_cannot_go_on(models, web, tmp_path):
    module = compiled(web(models("classifier", "fp32")))
    (tmp_path / "words.txt").write_text("no picture")
    with demo(module, tmp_path / "profile") as page:
        root = page.call("DOM.getDocument")["root"]["nodeId"]
        node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        page.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / "words.txt")])
        until(page, "could not be decoded")
        page.js("document.querySelector('#camera').click(); void 0")
        until(page, "device not found")


def background(page: Page, scheme: str) -> str:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.call("Emulation.setEmulatedMedia", features=features)
    return str(page.js("getComputedStyle(document.body).backgroundColor"))


PIXELS = """
(async () => {
  const { pictureOf } = await import("/dist/src/classifier-fp32.js");
  return [...(await pictureOf(document.querySelector("#file").files[0])).data];
})()
"""


def test_the_server_gives_out_its_folder_only(models, web, tmp_path):
    module = compiled(web(models("classifier", "fp32")))
    (module.parent / "secret.txt").write_text("secret")
    with demo(module, tmp_path / "profile") as page:
        codes = page.js(
            "Promise.all(['/../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/README.md']"
            ".map(async path => (await fetch(path)).status))"
        )
    assert codes == [404, 404, 404, 200]
