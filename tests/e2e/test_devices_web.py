"""A browser as a device: Debian's Chromium, headless, with the runtime that npm fetched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net, feed, mixed_net, photos, quiet
from tflite_builder import empty_model, quantized_bytes, random_image, random_weights, tiny_net

from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import open_device
from edgekit.devices.web import package
from edgekit.errors import ConversionError, DeviceBusy, DeviceLost, DeviceUnreachable, SetupError
from edgekit.quantize.emit import emit
from edgekit.quantize.observe import observe
from edgekit.quantize.ranges import choose
from edgekit.tflite.model import Model, write
from tests.e2e.browser import find
from tests.e2e.conftest import tflite_outputs

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find() is None, reason="no Chromium here: apt-get install chromium"),
]

IMAGES = np.concatenate([random_image(seed) for seed in range(20)])


@pytest.fixture(scope="module", autouse=True)
def runtime() -> None:
    if package.is_ready():
        return
    if shutil.which("npm") is None:
        pytest.skip("no npm here to fetch @litertjs/core: apt-get install npm")
    try:
        package.install()
    except SetupError as error:
        pytest.skip(f"{error.cause} {error.cure}")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Iterator[Path]:
    """A home of our own, with the runtime that was fetched; no browser may be left at the end."""
    home = tmp_path / "home"
    (home / "environments").mkdir(parents=True)
    (home / "environments" / package.location().name).symlink_to(package.location())
    monkeypatch.setenv("EDGEKIT_HOME", str(home))
    yield home
    deadline = time.monotonic() + 30
    while left := browsers(home):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def browsers(home: Path) -> list[psutil.Process]:
    """All processes whose profile is below a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(home) in word for word in words) and process.pid != os.getpid():
            found.append(process)
    return found


def main_process(home: Path) -> psutil.Process:
    """The browser itself, not one of its helpers."""
    found = browsers(home)
    pids = {process.pid for process in found}
    # The bridge is none of those: nothing of the folder is on its command line.
    return next(process for process in found if process.ppid() not in pids | {1})


@pytest.fixture
def float_model(tmp_path) -> Path:
    path = tmp_path / "tiny.tflite"
    write(tiny_net(random_weights()), path)
    return path


def test_outputs_equal_the_runtime_here(cache, float_model):
    with open_device("web") as device, device.runner(float_model) as runner:
        described = runner.describe()
        (outputs,) = runner.run([IMAGES])
        timing = runner.benchmark([IMAGES], runs=7, warmup=2)
    np.testing.assert_allclose(outputs, tflite_outputs(float_model, IMAGES), atol=1e-5)
    assert described.versions["@litertjs/core"] == package.version()
    assert re.search(r"Chrom\w+ [0-9.]+, WebAssembly", described.versions["browser"])
    assert [one.shape for one in described.inputs] == [(1, 8, 8, 3)]
    assert len(timing.latency.samples_ms) == 7
    assert timing.latency.first_ms > 0 < timing.latency.load_ms
    assert not list(cache.glob("web/work-*"))


@pytest.mark.parametrize("scheme", ["int8-float-io", "int8-uint8-io"])
def test_integers_inside(cache, tmp_path, scheme):
    stack, path = photos(8, 8, 8, 3), tmp_path / f"{scheme}.tflite"
    model = mixed_net(tmp_path / "float.tflite")
    seen = observe(model, feed(tmp_path / "photos.npy", stack), progress=quiet)
    emit(model, path, scheme, choose(seen, "minmax"))
    with open_device("web") as device, device.runner(path) as runner:
        (outputs,) = runner.run([stack])
    wanted = tflite_outputs(path, stack)
    step = np.ptp(wanted) / 255
    assert np.abs(outputs - wanted).max() < 2 * step


def test_int8_inputs_are_refused_with_the_scheme_to_use(cache, tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(quantized_bytes("static_wi8_ai8"))
    with (
        open_device("web") as device,
        pytest.raises(ConversionError, match="--scheme int8-float-io"),
    ):
        device.runner(path).describe()


def test_two_models_and_two_threads(cache, float_model, tmp_path):
    """Inputs and outputs in the file's order, whatever order the page's runtime has."""
    swapped = tmp_path / "sums.tflite"
    write(two_in_two_out(), swapped)
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 5, 3)).astype(np.float32)
    with open_device("web") as device:
        for threads in (1, 2):
            with device.runner(swapped, threads=threads) as runner:
                names = [one.name for one in runner.describe().inputs]
                total, twice = runner.run([left, right])
                with device.runner(float_model, threads=threads) as other:
                    assert other.run([IMAGES])[0].shape == (20, 5)
                again, _ = runner.run([left, right])
            assert names == ["zebra", "ant"]
            np.testing.assert_allclose(total, left - right, atol=1e-6)
            np.testing.assert_allclose(twice, 2 * right, atol=1e-6)
            np.testing.assert_array_equal(total, again)


def two_in_two_out() -> Model:
    """``zebra - ant`` and ``ant + ant``, with names that an alphabet would turn around."""
    model = empty_model()
    graph = model.main
    zebra, ant, first, second = (
        graph.add_tensor(name, (1, 3), "float32") for name in ("zebra", "ant", "z_out", "a_out")
    )
    model.raw.operatorCodes = [
        schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=1)
        for code in (schema.BuiltinOperator.SUB, schema.BuiltinOperator.ADD)
    ]
    kinds = (
        (0, (zebra, ant), first, schema.BuiltinOptions.SubOptions, schema.SubOptionsT()),
        (1, (ant, ant), second, schema.BuiltinOptions.AddOptions, schema.AddOptionsT()),
    )
    graph.raw.operators = [
        schema.OperatorT(
            opcodeIndex=code,
            inputs=[one.index for one in inputs],
            outputs=[output.index],
            builtinOptionsType=kind,
            builtinOptions=options,
        )
        for code, inputs, output, kind, options in kinds
    ]
    graph.raw.inputs = [zebra.index, ant.index]
    graph.raw.outputs = [first.index, second.index]
    return model


def test_a_model_that_the_runtime_does_not_compute(cache, float_model, tmp_path):
    """An operator that the runtime does not know: it writes to the console, and gives zeros."""
    damaged = tiny_net(random_weights())
    code = damaged.raw.operatorCodes[0]
    code.customCode, code.builtinCode, code.deprecatedBuiltinCode = "Nonsense", 32, 32
    path = tmp_path / "custom.tflite"
    write(damaged, path)
    with open_device("web") as device:
        with pytest.raises(ConversionError, match="unresolved custom op: Nonsense"):
            device.runner(path).run([IMAGES])
        with device.runner(float_model) as runner:
            assert runner.run([IMAGES])[0].shape == (20, 5)


def test_the_browser_dies(cache, float_model):
    with open_device("web", limits=DeviceLimits(silence=20)) as device:
        with device.runner(float_model) as runner:
            runner.run([IMAGES])
            main_process(cache).kill()
            with pytest.raises(DeviceLost):
                runner.run([IMAGES])
        with device.runner(float_model) as runner:
            assert runner.run([IMAGES])[0].shape == (20, 5)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here: util-linux")
def test_the_bridge_is_killed(cache):
    """The fixture sees that its browser goes, too."""
    with open_device("web") as device:
        device.session()
        psutil.Process(main_process(cache).ppid()).kill()
        with pytest.raises(DeviceLost):
            device.session().call({"verb": "probe"})


def test_edgekit_is_killed(cache, float_model):
    """The fixture sees that its browser goes, too."""
    code = (
        "import sys, time; from edgekit.devices.target import open_device\n"
        "with open_device('web') as device:\n"
        "    device.session(); print('there', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        assert browsers(cache)
        process.kill()


def test_two_runs_at_once(cache):
    with open_device("web") as one:
        one.session()
        with pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since"):
            open_device("web").session()


def test_the_token_is_on_no_command_line(cache):
    with open_device("web") as device:
        device.session()
        words = [" ".join(process.cmdline()) for process in browsers(cache)]
    assert words
    assert not any(re.search(r"127\.0\.0\.1:\d+/", line) for line in words)


def test_a_browser_of_the_user(cache, float_model, tmp_path):
    """The link is printed, one for all files; here Chromium stands in for the user."""
    other = tmp_path / "other.tflite"
    shutil.copy(float_model, other)
    command = [sys.executable, "-m", "edgekit", "benchmark", str(float_model), str(other)]
    with subprocess.Popen(
        [*command, "--device", "web:link", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert b"Open this link" in process.stderr.readline()
        link = process.stderr.readline().decode().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", link)
        user = subprocess.Popen(
            [find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             f"--user-data-dir={cache / 'user'}", link],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            out, _ = process.communicate(timeout=120)
        finally:
            user.terminate()
            user.wait(10)
    assert process.returncode == 0
    timings = json.loads(out)["timings"]
    assert list(timings) == ["tiny", "other"]
    assert all(one["latency"]["samples_ms"] for one in timings.values())


def test_validation_in_the_browser(cache, float_model, tmp_path):
    """Parity, top-1 and latency by one command, against an interpreter asked directly."""
    labels = tflite_outputs(float_model, IMAGES).argmax(-1)
    labels[:5] = (labels[:5] + 1) % 5  # five of twenty are wrong on purpose
    np.savez(tmp_path / "data.npz", image=IMAGES, labels=labels)
    shutil.copy(float_model, tmp_path / "candidate.tflite")
    answer = subprocess.run(
        [sys.executable, "-m", "edgekit", "validate", "candidate.tflite", "--reference",
         float_model, "--data", "data.npz", "--task", "classification", "--device", "web",
         "--output", "report"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer
    assert f"@litertjs/core {package.version()})" in answer.stdout
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["environment"]["@litertjs/core"] == package.version()
    (candidate,) = report["candidates"]
    assert candidate["metrics"]["top1_accuracy"] == 0.75, (candidate["metrics"], report["notes"])
    assert candidate["timing"]["latency"]["samples_ms"]


def test_webgpu_by_software(cache, tmp_path):
    """Chromium's own software renderer; skipped where this build of it has none."""
    path = tmp_path / "convolutions.tflite"
    net = Net(1, 8, 8, 3)
    net.save(path, net.conv(net.conv(net.image, "first", 4, activation="RELU"), "second", 4))
    stack = photos(4, 8, 8, 3)
    try:
        with open_device("web:webgpu") as device, device.runner(path) as runner:
            browser = runner.describe().versions["browser"]
            (outputs,) = runner.run([stack])
    except DeviceUnreachable as error:
        pytest.skip(error.cause)
    assert "WebGPU" in browser
    np.testing.assert_allclose(outputs, tflite_outputs(path, stack), atol=1e-3)


def test_edgekit_is_killed_before_anybody_opens_the_link(cache, float_model):
    command = [sys.executable, "-m", "edgekit", "benchmark", str(float_model)]
    with subprocess.Popen([*command, "--device", "web:link"], stderr=subprocess.PIPE) as process:
        assert any(b"Open this link" in line for line in process.stderr)
        (bridge,) = psutil.Process(process.pid).children()
        process.kill()
        bridge.wait(10)


def test_a_wrong_digest(cache, tmp_path, monkeypatch):
    """npm fetches the package and sees that it is not the one that edgekit knows."""
    shutil.copytree(package.PAGE, tmp_path / "page")
    lock = tmp_path / "page" / "package-lock.json"
    text, count = re.subn(r"sha512-\w{8}", "sha512-AAAAAAAA", lock.read_text())
    assert count == 2
    lock.write_text(text)
    monkeypatch.setattr(package, "PAGE", tmp_path / "page")
    monkeypatch.setattr(package, "_LOCK", lock)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with pytest.raises(SetupError, match=r"locked digest|npm failed") as caught:
        package.install()
    if "npm failed" in caught.value.cause:
        pytest.skip("npm reaches no registry here")
    assert not package.is_ready()


def test_no_npm(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SetupError, match="npm, which is not here") as caught:
        package.install()
    assert "apt install npm" in caught.value.cure


def test_what_is_missing(cache, monkeypatch):
    monkeypatch.setenv("EDGEKIT_BROWSER", "/no/such/browser")
    with pytest.raises(DeviceUnreachable, match="no browser") as caught:
        open_device("web").session()
    assert "apt install chromium" in caught.value.cure
    monkeypatch.setenv("EDGEKIT_HOME", str(cache / "empty"))
    with pytest.raises(DeviceUnreachable, match="not installed") as caught:
        open_device("web").session()
    assert caught.value.cure == "edgekit device install web"
