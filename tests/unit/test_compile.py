"""``edgekit compile`` with a compiler that behaves well and badly, and what is predicted of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tflite_builder
import vela_cases
from click.testing import CliRunner
from target_nets import Chain, held_against

import edgekit
from edgekit.cli.compile import command
from edgekit.compilers.asking import left_to_the_cpu
from edgekit.compilers.manifests import compiler_for, discover, read_manifest
from edgekit.errors import ConversionError, ModelError, SetupError, UsageError
from edgekit.provenance.text import read_lock
from edgekit.targets.check import check
from edgekit.targets.reading import load
from edgekit.tflite.model import read, write

WORKER = """
import os, time
from pathlib import Path
from edgekit_worker import WorkerError

def compile_file(request, progress):
    made = Path(request["folder"]) / "made.tflite"
    made.write_bytes(Path(request["artifact"]).read_bytes())
    figures = {{name: 1 for name in ("sram_bytes", "dram_bytes", "flash_bytes", "macs", "cycles")}}
    figures |= {{"inferences_per_second": 2.0, "clock_hz": 3e6, "system": "s", "memory_mode": "m"}}
    refused = [["features", "too small"]]
    {does}
    return {{"artifact": str(made), "refused": refused, "figures": figures}}
"""


def fake(root: Path, does: str = "") -> None:
    folder = root / "fake"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "worker.py").write_text(WORKER.format(does=does), encoding="utf-8")
    (folder / "compiler.toml").write_text(
        'name = "fake"\nsummary = "a fake"\nenvironment = "host"\nversions = ["numpy"]\n'
        'targets = ["ethos-u55-128"]\noptions = ["size"]\ncustom = ["ethos-u"]\n'
        "[limits]\nseconds = 60\n",
        encoding="utf-8",
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake(tmp_path / "compilers")
    monkeypatch.setenv("EDGEKIT_COMPILERS", str(tmp_path / "compilers"))
    # The real one knows the target too: this one goes before it.
    monkeypatch.setattr("edgekit.compilers.manifests.shipped_folder", lambda _: tmp_path / "none")
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_builder.tiny_bytes())
    return path


def test_a_compiled_file_has_a_lock_by_which_it_is_known(file: Path) -> None:
    before = file.read_bytes()
    made = edgekit.compile(file, target="ethos-u55-128", options={"size": "small"})
    place = file.with_name("net_ethos-u55-128.tflite")
    assert made.compiled.artifact == place
    assert file.read_bytes() == before
    lock = read_lock(made.lock)
    assert lock.inputs[0].sha256 == made.source_sha256
    assert lock.files[0].sha256 == made.sha256
    assert lock.request == {"compile": "ethos-u55-128", "options": {"size": "small"}}
    assert lock.tools["fake"]["numpy"] == np.__version__
    (verified,) = edgekit.verify(place)
    assert verified.state == "same"
    place.write_bytes(before[:-4] + b"\0\0\0\1")
    (verified,) = edgekit.verify(place)
    assert verified.state == "differs"
    with pytest.raises(UsageError, match="lock of a compiled file"):
        edgekit.replay(made.lock)
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "compilers", "net.tflite", "net_ethos-u55-128.lock", "net_ethos-u55-128.tflite",
    ]  # fmt: skip


def test_what_stays_on_the_cpu_is_what_the_compiler_says(file: Path) -> None:
    made = edgekit.compile(file, target="ethos-u55-128")
    # The fake compiles nothing: every operator is left, and one has a reason.
    assert len(made.compiled.left) == len(read(file).main.operators)
    assert "too small" in made.compiled.left.values()
    assert made.report.placement is not None
    assert made.report.placement.accelerated == 0
    on_cpu = [one for one in made.report.findings if one.kind == "accelerator"]
    assert {one.basis for one in on_cpu} == {"compiled"}


def test_nothing_is_replaced_without_force(file: Path) -> None:
    place = file.with_name("net_ethos-u55-128.tflite")
    place.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="exists already"):
        edgekit.compile(file, target="ethos-u55-128")
    assert place.read_text(encoding="utf-8") == "mine"
    edgekit.compile(file, target="ethos-u55-128", force=True)
    assert place.read_bytes()[4:8] == b"TFL3"


@pytest.mark.parametrize(
    ("does", "wrong", "says"),
    [
        ("os.abort()", ConversionError, "fake"),
        ("raise WorkerError('no such thing')", ConversionError, "no such thing"),
        ("made.write_bytes(b'rubbish')", ModelError, "made.tflite"),
        ("figures['cycles'] = float('nan')", ConversionError, "figures"),
        ("figures.pop('cycles')", ConversionError, "figures"),
    ],
)
def test_a_compiler_that_fails_leaves_nothing(
    file: Path, does: str, wrong: type[Exception], says: str
) -> None:
    fake(file.parent / "compilers", does)
    with pytest.raises(wrong, match=says):
        edgekit.compile(file, target="ethos-u55-128")
    assert sorted(path.name for path in file.parent.iterdir()) == ["compilers", "net.tflite"]


def test_bad_words_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no compiler for"):
        edgekit.compile(file, target="ethos-u55-127")
    with pytest.raises(UsageError, match="has no option 'colour'"):
        edgekit.compile(file, target="ethos-u55-128", options={"colour": "red"})
    with pytest.raises(UsageError, match="is not a name of"):
        edgekit.compile(file, target="ethos-u55-128", output=tmp_path / "net.bin")
    with pytest.raises(UsageError, match="There is no file"):
        edgekit.compile(tmp_path / "none.tflite", target="ethos-u55-128")
    (tmp_path / "compiler.toml").write_text('name = "x"\ntargets = []\n', encoding="utf-8")
    with pytest.raises(SetupError, match="targets is empty"):
        read_manifest(tmp_path / "compiler.toml")


def test_the_command_says_it_as_json(file: Path) -> None:
    words = [str(file), "--target", "ethos-u55-128", "--option", "size=small", "--json"]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["artifact"]["sha256"] != ""
    assert found["figures"]["sram_bytes"] == 1
    assert found["options"] == {"size": "small"}
    listed = json.loads(CliRunner().invoke(command, ["--list", "--json"]).stdout)
    assert listed[0]["targets"] == ["ethos-u55-128"]


def test_an_operator_that_is_in_neither_file_is_an_error() -> None:
    source, compiled = Chain(1, 8, dtype="int8"), Chain(1, 8, dtype="int8")
    source.add("RELU")
    compiled.add("TANH")
    with pytest.raises(ConversionError, match="TANH"):
        left_to_the_cpu(source.model, compiled.model, {}, frozenset())


@pytest.mark.parametrize("target", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_every_form_is_predicted_as_vela_has_it(target: str) -> None:
    """Over 200 operators, against the answers of Vela itself (an e2e test asks it again)."""
    model = vela_cases.graph_of(vela_cases.cases())
    placement = check(model, load(target), size_bytes=1).placement
    assert placement is not None
    operators = model.main.operators
    cpu = [i for part in placement.parts if not part.accelerated for i in part.operators]
    assert {operators[i].outputs[0].name for i in cpu} == vela_cases.left(target)


@pytest.mark.parametrize(("signature", "taken"), [([-1, 8, 8, 4], 1), ([1, -1, 8, 4], 0)])
def test_only_the_batch_may_be_open_as_vela_has_it(signature: list[int], taken: int) -> None:
    """Vela 5.2.0 was asked about both."""
    net = Chain(1, 8, 8, 4, dtype="int8")
    net.add("RELU")
    for tensor in net.graph.tensors:
        tensor.raw.shapeSignature = signature
    placement = held_against(net.model, "ethos-u55-128").placement
    assert placement is not None
    assert placement.accelerated == taken


def test_every_target_of_vela_has_a_profile() -> None:
    for target in discover()["vela"].targets:
        profile = load(target)
        assert (profile.name, profile.compiles) == (target, (target,))
        assert compiler_for(target).worker.name == "vela"
    assert load("ethos-u55").compiles[0] == "ethos-u55-128"


@pytest.mark.parametrize("name", ["litert-google-tensor", "litert-mediatek", "litert-qualcomm"])
def test_an_npu_that_cannot_be_compiled_for_says_what_to_install(name: str, tmp_path: Path) -> None:
    compiler = discover()[name]
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_builder.tiny_bytes())
    for target in compiler.targets:
        assert load(target).compiles == (target,)
    with pytest.raises(SetupError, match="ai_edge_litert_sdk") as caught:
        edgekit.compile(path, target=compiler.targets[0])
    assert caught.value.cure.startswith("pip install ai-edge-litert-sdk-")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("sdk", "says"),
    [("None", "without the vendor's SDK"), ("pathlib.Path(__file__).parent", "libQnnHtp.so")],
)
def test_litert_itself_is_asked_where_the_sdk_is_there(
    sdk: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package without the vendor's files, and one whose files are not there after all."""
    package = tmp_path / "packages" / "ai_edge_litert_sdk_qualcomm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        f"import pathlib\ndef get_sdk_path():\n    return {sdk}\npath_to_sdk_libs = get_sdk_path\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_builder.tiny_bytes())
    with pytest.raises((SetupError, ConversionError), match=says):
        edgekit.compile(path, target="qualcomm-sm8750")
    assert not list(tmp_path.glob("*_qualcomm*"))


def test_a_profile_may_extend_one_of_them(tmp_path: Path) -> None:
    net = Chain(1, 8, dtype="int8")
    net.add("RELU")
    write(net.model, tmp_path / "net.tflite")
    board = tmp_path / "board.toml"
    board.write_text('summary = "b"\nextends = "ethos-u65-512"\n', encoding="utf-8")
    assert load(str(board)).compiles == ("ethos-u65-512",)
    report = held_against(net.model, board)
    assert report.basis == "predicted"
    assert held_against(net.model, "tflite-micro").basis == ""
