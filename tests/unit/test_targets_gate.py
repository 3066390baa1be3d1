"""Targets as gates of a conversion: where they come from, and what replaces what."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.config import load_config
from edgekit.errors import UsageError
from edgekit.pipeline.plan import Plan, plan
from edgekit.pipeline.request import ConversionRequest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    (tmp_path / "photos").mkdir()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "board.toml").write_text('summary = "board"\n', encoding="utf-8")
    (tmp_path / "below" / "edgekit.toml").write_text(
        '[target]\nprofiles = ["tflite-micro", "board.toml"]\n', encoding="utf-8"
    )
    return tmp_path


def decide(**options: object) -> Plan:
    request = ConversionRequest(model="net.onnx", calibration=Path("photos"), **options)  # type: ignore[arg-type]
    return plan(request)


def stated(decided: Plan, scheme: str = "int8") -> list[str]:
    return [str(gate) for gate in decided.gates_of(scheme, None) if "target" in gate.metric]  # type: ignore[arg-type]


def test_no_target_no_gate(folder: Path) -> None:
    assert decide().targets == ()
    assert stated(decide()) == []


def test_targets_come_from_flags_and_from_the_configuration(folder: Path) -> None:
    decided = decide(config=Path("below/edgekit.toml"), targets=("edge-tpu", "tflite-micro"))
    assert [one.name for one in decided.targets] == ["tflite-micro", "board", "edge-tpu"]
    assert stated(decided) == ["target_violations <= 0"]
    assert decided.describe()["targets"] == ["tflite-micro", "board", "edge-tpu"]


def test_a_stated_gate_takes_the_place_of_the_default(folder: Path) -> None:
    decided = decide(targets=("edge-tpu",), gates=("fp32:target_violations <= 9",))
    assert stated(decided, "fp32") == ["target_violations <= 9"]
    assert stated(decided) == ["target_violations <= 0"]


def test_an_unknown_target_is_found_before_any_work(folder: Path) -> None:
    with pytest.raises(UsageError, match="no target 'nothing'"):
        decide(targets=("nothing",))


@pytest.mark.parametrize("table", ["profiles = 'edge-tpu'", "profiles = [1]", "name = 'edge-tpu'"])
def test_the_table_in_the_configuration_is_checked(folder: Path, table: str) -> None:
    path = folder / "bad.toml"
    path.write_text(f"[target]\n{table}\n", encoding="utf-8")
    with pytest.raises(UsageError):
        load_config(path)


def clients_of(decided: Plan) -> list[str]:
    return [str(gate) for gate in decided.gates_of("int8", None) if "client" in gate.metric]


def test_clients_come_from_flags_gates_and_the_configuration(folder: Path) -> None:
    assert decide().clients == ()
    assert clients_of(decide()) == []
    (folder / "edgekit.toml").write_text('[compat]\nclients = ["tflite-micro"]\n', "utf-8")
    decided = decide(
        config=Path("edgekit.toml"), compat=("tosa,openvino",), gates=("compat: tvm, tosa",)
    )
    names = ["litert", "tflite-micro", "tosa", "openvino", "tvm"]
    assert [one.name for one in decided.clients] == names
    assert clients_of(decided) == ["client_violations <= 0"]
    assert decided.describe()["clients"] == names
    with pytest.raises(UsageError, match="no client 'openvin'"):
        decide(compat=("openvin",))
    (folder / "edgekit.toml").write_text('[compat]\nclients = "tosa"\n', "utf-8")
    with pytest.raises(UsageError, match="a list of names of clients"):
        decide(config=Path("edgekit.toml"))
