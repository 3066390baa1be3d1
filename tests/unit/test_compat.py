"""``edgekit compat`` with clients that behave well, badly and not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tflite_builder
from click.testing import CliRunner
from quantize_nets import mixed_net, photos
from target_nets import Chain

import edgekit
from edgekit.cli.compat import command
from edgekit.compat.asking import ClientAnswer, ask, facts_of
from edgekit.compat.clients import choose, discover, read_manifest
from edgekit.compat.judging import OTHER_KERNELS, differences, vary
from edgekit.compat.rows import ClientJudge, ClientRow
from edgekit.compat.run import Compatibility, compatibility
from edgekit.compat.samples import judged_outputs, stored_samples
from edgekit.devices.tensors import DeviceTensor
from edgekit.errors import SetupError, UsageError
from edgekit.tflite.model import write
from edgekit.tflite.summary import summarize
from edgekit.toolchain.workshop import Workshop
from edgekit.types import SilentProgress

WORKER = """
import os, sys, time
from edgekit_worker import WorkerError, answer_samples

def load(request, progress):
    {load}
    return {{}}

def run(request, progress):
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    loaded = Interpreter(request["artifact"])
    loaded.allocate_tensors()
    def once(values):
        loaded.set_tensor(loaded.get_input_details()[0]["index"], values[0])
        loaded.invoke()
        result = loaded.get_tensor(loaded.get_output_details()[0]["index"])
        {run}
        return [result]
    return answer_samples(once, request, progress)
"""
FAKES = {
    "well": ("", ""),
    "talks": ("print('{}')", "os.write(1, b'noise')"),
    "crashes": ("os.abort()", ""),
    "dies": ("", "os._exit(0)"),
    "hangs": ("time.sleep(60)", ""),
    "refuses": ("raise WorkerError('ADD of int3 is not known')", ""),
    "others": ("raise WorkerError('for pictures only', kind='usage')", ""),
    "wrong": ("", "result[0, 1] += 1"),
    "nan": ("", "result[0, 1] = np.nan"),
    "shape": ("", "result = result[:, :2]"),
    "nothing": ("", "return []"),
    "words": ("", "result = result.astype(str)"),
    "bug": ("", "result.no_such"),
}


def fake(root: Path, name: str, load: str, run: str, seconds: float = 60) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "worker.py").write_text(WORKER.format(load=load or "pass", run=run or "pass"))
    manifest = f'name = "{name}"\nsummary = "a test"\nenvironment = "host"\n'
    (folder / "client.toml").write_text(f"{manifest}[limits]\nseconds = {seconds}\n")


@pytest.fixture
def clients(tmp_path, monkeypatch) -> Path:
    """The folder of the fakes, which edgekit finds; a home without earlier answers."""
    root = tmp_path / "clients"
    for name, (load, run) in FAKES.items():
        fake(root, name, load, run, seconds=1 if name == "hangs" else 60)
    monkeypatch.setenv("EDGEKIT_CLIENTS", str(root))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return root


@pytest.fixture
def net(tmp_path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_builder.tiny_bytes())
    return path


def asked(net: Path, *names: str) -> dict[str, ClientRow]:
    found = compatibility(
        net,
        choose(["litert", *names], discover()),
        data=None,
        samples=3,
        progress=SilentProgress(),
    )
    return {row.client: row for row in found.rows}


def test_whatever_a_client_does_is_a_row_and_not_the_end(clients, net) -> None:
    rows = asked(net, *FAKES)
    states = {name: row.state for name, row in rows.items()}
    assert states == {
        "litert": "baseline",
        "well": "agrees",
        "talks": "agrees",
        "crashes": "refused",
        "dies": "stopped",
        "hangs": "refused",
        "refuses": "refused",
        "others": "other kind",
        "wrong": "differs",
        "nan": "differs",
        "shape": "differs",
        "nothing": "stopped",
        "words": "stopped",
        "bug": "stopped",
    }
    assert "SIGABRT" in rows["crashes"].reason
    assert "longer than 1 s" in rows["hangs"].reason
    assert rows["refuses"].reason == "ADD of int3 is not known"
    assert rows["wrong"].outputs[0].share == pytest.approx(1 / tflite_builder.CLASSES)
    assert rows["nan"].outputs[0].largest == math.inf
    assert "[1, 2]" in rows["shape"].reason


def test_an_answer_is_known_until_the_client_changes_and_a_timeout_never(clients, net) -> None:
    assert not asked(net, "well", "hangs")["well"].cached
    again = asked(net, "well", "hangs")
    assert [again["well"].cached, again["hangs"].cached] == [True, False]
    assert again["well"].outputs[0].largest == 0
    program = clients / "well" / "worker.py"
    program.write_text(program.read_text().replace("pass", "raise WorkerError('not any more')"))
    assert asked(net, "well")["well"].state == "refused"


def typed(*words: str):
    return CliRunner().invoke(command, list(words), standalone_mode=False)


def test_the_command_passes_only_where_another_client_ran(clients, net) -> None:
    common = (str(net), "--synthetic", "--samples", "3", "-q")
    passed = typed(*common, "--gate", "well", "--clients", "well")
    assert passed.return_value == 0
    assert "PASS net.tflite: well agree" in passed.output
    failed = typed(*common, "--clients", "well,others,nan", "--json")
    assert failed.return_value == 4
    document = json.loads(failed.stdout)
    assert document["files"][0]["verdict"] == "fail"
    assert document["files"][0]["rows"][1]["cached"]
    assert document["files"][0]["rows"][3]["outputs"][0]["largest"] is None
    assert document["required"] == ["litert", "well", "others", "nan"]


def test_the_page_has_every_client_and_why(clients, net, tmp_path) -> None:
    page = tmp_path / "compat.html"
    common = (str(net), "--synthetic", "--samples", "3", "-q", "--clients", "well,refuses,wrong")
    assert typed(*common, "--html", str(page)).return_value == 4
    text = page.read_text(encoding="utf-8")
    for word in ("well", "agrees", "ADD of int3 is not known", "wrong", "differs", "FAIL"):
        assert word in text
    assert "<script" not in text
    assert isinstance(typed(*common, "--html", str(page)).exception, UsageError)


def test_what_a_client_tells_of_the_file_is_kept(clients, net) -> None:
    fake(clients, "tells", "return {'facts': {'arena_bytes': 1234}}", "")
    known = discover()
    for _ in range(2):
        found = compatibility(
            net,
            [known["litert"], known["tells"]],
            data=None,
            samples=2,
            progress=SilentProgress(),
        )
        assert found.rows[1].facts == {"arena_bytes": 1234}
    assert facts_of(known["tells"].worker, net, SilentProgress()) == {"arena_bytes": 1234}
    done = CliRunner().invoke(
        command, [str(net), "--synthetic", "--clients", "tells", "-q"], catch_exceptions=False
    )
    assert "tells: arena bytes 1,234" in done.stdout


def test_a_conversion_fails_where_a_client_does(clients, tmp_path) -> None:
    """The gate, in quantize: one client agrees, one refuses, one dies of NaN in int8."""
    source = mixed_net(tmp_path / "net.tflite")
    np.save(tmp_path / "photos.npy", photos(24, 8, 8, 3))
    result = edgekit.quantize(
        source,
        calibration=tmp_path / "photos.npy",
        output=tmp_path / "out",
        schemes=["int8"],
        effort="none",
        accept_few=True,
        compat=["well"],
        gates=["centred_sqnr_db >= 0", "lost_share <= 1", "compat: refuses, nan"],
    )
    (file,) = result.files
    assert file.metrics["client_violations"] == 2
    assert [(row.client, row.state) for row in file.clients] == [
        ("litert", "baseline"), ("well", "agrees"), ("refuses", "refused"), ("nan", "stopped"),
    ]  # fmt: skip
    assert file.verdict.state == "fail"
    (gate,) = [one for one in file.verdict.gates if one.gate.metric == "client_violations"]
    assert gate.state == "fail"
    assert "refuses: ADD of int3 is not known" in gate.why
    json.loads(result.report.read_text(encoding="utf-8"))


def test_names_that_are_none_and_missing_data(clients, net) -> None:
    for words, said in [
        (("--clients", "wel", "--synthetic"), "Did you mean 'well'?"),
        (("--gate", "refusse", "--synthetic"), "Did you mean 'refuses'?"),
        ((), "Give one of them."),
    ]:
        error = typed(str(net), *words).exception
        assert isinstance(error, UsageError)
        assert error.cure == said


def row(client: str, state: str) -> ClientRow:
    return ClientRow(client=client, state=state, opens=None, runs=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "required", "varies", "wanted"),
    [
        ({"a": "agrees", "b": "refused"}, (), True, "pass"),
        ({"a": "agrees", "b": "refused"}, ("b",), True, "fail"),
        ({"a": "agrees", "b": "missing"}, ("b",), True, "not proven"),
        ({"a": "refused"}, (), True, "not proven"),
        ({"a": "agrees", "b": "differs"}, ("a",), True, "fail"),
        ({"a": "agrees"}, (), False, "not proven"),
        ({}, (), True, "not proven"),
        ({"litert": "refused", "a": "ran"}, (), True, "not proven"),
    ],
)
def test_verdicts(states, required, varies, wanted) -> None:
    found = Compatibility(
        file="m.tflite",
        sha256="",
        data="d",
        samples=2,
        samples_digest="",
        most_steps=8,
        varies=varies,
        rows=tuple(row(*one) for one in {"litert": "baseline", **states}.items()),
    )
    assert found.verdict(required)[0] == wanted


def answer(*values: int, hint: str = "") -> ClientAnswer:
    return ClientAnswer(stage="ran", outputs=(np.array([values], np.int8),), cure=hint)


def test_a_client_may_round_as_other_kernels_of_litert() -> None:
    judge = ClientJudge((tensor("int8", 0.5),), answer(0, 9, 20), 4)
    far = answer(0, 9, 25, hint="no VNNI")
    row = judge.row("a", far)
    assert (row.state, row.cure, row.worst.largest) == ("differs", "no VNNI", 5)
    assert judge.near(row, far, answer(0, 9, 30), "the reference kernels") == row
    assert judge.near(row, far, ClientAnswer(stage="refused"), "the reference kernels") == row
    near = judge.near(row, far, answer(0, 8, 24), "the reference kernels")
    assert (near.state, near.cure, near.rounds_as) == ("agrees", "", "the reference kernels")
    assert "5 steps from XNNPACK's kernels, 1 from the reference kernels" in near.reason
    assert near.outputs == row.outputs
    others = [answer(0, 9, 20), ClientAnswer(stage="refused")]
    explained = judge.explained(row, answer(0, 9, 22), others, "wider sums")
    assert (explained.state, explained.cure) == (
        "differs",
        "no VNNI With wider sums it is 2 steps away.",
    )
    close = judge.row("a", answer(0, 9, 24, hint="no VNNI"))
    assert (close.state, close.cure, close.reason) == ("agrees", "", "")


def test_litert_computes_by_each_of_its_kernels(net) -> None:
    rows = [
        ask(
            discover()["litert"],
            net,
            summarize(net),
            stored_samples(net, summarize(net), data=None, samples=2, seed=0),
            workshop=Workshop(name="test", progress=SilentProgress(), read=(net,)),
            kernels=kernels,
        )
        for kernels in ("", *OTHER_KERNELS)
    ]
    assert [one.stage for one in rows] == ["ran"] * 3
    assert len({one.outputs[0].tobytes() for one in rows}) > 1  # or they are not what they say
    for one in rows:
        np.testing.assert_allclose(one.outputs[0], rows[0].outputs[0], rtol=1e-4, atol=1e-5)


def test_those_that_are_not_timed_run_at_the_same_time(clients, net, tmp_path, monkeypatch) -> None:
    """Each waits for the other."""
    wait = "import pathlib; here = pathlib.Path(request['folder']).parent; (here / '{}').touch()\n"
    wait += "    while not (here / '{}').exists(): time.sleep(0.01)"
    for mine, other in (("left", "right"), ("right", "left")):
        fake(clients, mine, wait.format(mine, other), "")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    rows = asked(net, "left", "right")
    assert {rows["left"].state, rows["right"].state} == {"agrees"}


def tensor(dtype: str, scale: float = 0.0, zero_point: int = 0) -> DeviceTensor:
    return DeviceTensor(name="y", shape=(4,), dtype=dtype, scale=scale, zero_point=zero_point)


def test_steps_are_those_of_the_output() -> None:
    wanted = np.array([[1, 2, 3, 120], [4, 3, 2, 1]], np.int8)
    got = wanted + np.array([[0, 0, 0, 2], [0, 0, 0, -5]], np.int8)
    (found,) = differences([tensor("int8", 0.5, 3)], [wanted], [got])
    assert (found.largest, found.share, found.same_decisions, found.step) == (5, 2 / 8, 1.0, 0.5)
    real = (got.astype(np.float32) - 3) * 0.5
    assert differences([tensor("int8", 0.5, 3)], [wanted], [real]) == (found,)
    floats = np.linspace(0, 255, 8, dtype=np.float32).reshape(2, 4)
    (found,) = differences([tensor("float32")], [floats], [floats + np.float32(0.25)])
    assert found.largest == pytest.approx(0.25, rel=1e-4)
    assert found.share == 0


def test_the_step_of_a_float_output_is_that_of_the_integers_it_comes_from(tmp_path) -> None:
    net = Chain(1, 4, dtype="int8")
    net.add("DEQUANTIZE", dtype="float32")
    write(net.model, tmp_path / "net.tflite")
    (output,) = judged_outputs(tmp_path / "net.tflite", summarize(tmp_path / "net.tflite"))
    assert output.scale == pytest.approx(0.1)
    values = np.array([[0, 0.1, 0.2, 0.3]], np.float32)
    (found,) = differences([output], [values], [values + np.float32(0.2)])
    assert found.largest == pytest.approx(2, rel=1e-4)
    assert found.quantized


def test_integers_without_a_scale_and_equal_infinities_are_equal_or_not() -> None:
    counts = np.array([[1, 2, 3, 4]], np.int32)
    assert differences([tensor("int32")], [counts], [counts + 1])[0].largest == 1
    odd = np.array([[np.inf, np.nan, 0, 1]], np.float32)
    assert differences([tensor("float32")], [odd], [odd.copy()])[0].largest == 0


def test_a_tie_may_be_decided_either_way() -> None:
    wanted = np.array([[7, 7, 1, 0]], np.int8)
    got = np.array([[6, 7, 1, 0]], np.int8)
    assert differences([tensor("int8", 1.0)], [wanted], [got])[0].same_decisions == 1


def test_outputs_that_vary() -> None:
    assert not vary([np.ones((4, 2))])
    assert vary([np.ones((4, 2)), np.arange(4).reshape(4, 1)])
    assert not vary([np.arange(3).reshape(1, 3)])


@pytest.mark.parametrize(
    "text",
    [
        'name = "x"\nsummary = "s"\nenvironment = "isolated"\n',
        'name = "../x"\nsummary = "s"\nenvironment = "host"\n',
        'name = "x"\nsummary = "s"\ndevice = "web"\npython = ">=3.11"\n',
        'name = "x"\nsummary = "s"\nenvironment = "host"\ntimed = 3\n',
        'name = "x"\nsummary = "s"\nenvironment = "host"\nworker = "gone.py"\n',
        "name = ",
    ],
)
def test_a_manifest_that_is_not_right(tmp_path, text) -> None:
    (tmp_path / "worker.py").touch()
    (tmp_path / "client.toml").write_text(text)
    with pytest.raises(SetupError, match="client manifest"):
        read_manifest(tmp_path / "client.toml")


def test_own_clients_are_pinned_with_hashes() -> None:
    own = [client for client in discover().values() if client.worker and client.worker.requirements]
    assert len(own) >= 4
    for client in own:
        text = client.worker.requirements.read_text()
        pins = [line for line in text.splitlines() if "==" in line and line[0] not in " #"]
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)
