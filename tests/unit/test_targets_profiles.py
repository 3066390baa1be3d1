"""Reading profiles: what ships, what users add, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.targets.reading import SHIPPED, load, names
from edgekit.targets.versions import first_release, is_older

TINY = 'summary = "mine"\n'


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", names())
def test_every_shipped_profile_says_where_its_facts_come_from(name: str) -> None:
    profile = load(name)
    assert profile.name == name
    assert profile.sources
    assert all(source.says for source in profile.sources)
    if profile.verified:
        assert any(source.name.startswith(("measured", "Vela")) for source in profile.sources), (
            "tried means measured"
        )


def test_the_kinds_of_targets_that_are_there() -> None:
    wanted = {
        "tflite-runtime-2.14.0", "ai-edge-litert-1.4.0", "ai-edge-litert-2.3.0",
        "android-play-services", "gpu-delegate", "nnapi", "edge-tpu", "hexagon", "ethos-u55",
        "tflite-micro", "xnnpack", "litert-web",
    }  # fmt: skip
    assert wanted <= set(names())


def test_a_profile_of_ones_own_extends_one_that_ships(tmp_path: Path) -> None:
    path = write(
        tmp_path / "board.toml",
        'summary = "our board"\nextends = "tflite-micro"\nnotes = ["ours"]\n'
        "[limits]\narena_bytes = 262144\n[runtime.operators]\nATAN2 = [1, 1]\n",
    )
    board, base = load(path), load("tflite-micro")
    assert (board.name, board.summary) == ("board", "our board")
    assert board.limits.arena_bytes == 262144
    assert board.runtime is not None
    assert base.runtime is not None
    assert board.runtime.operators == {**(base.runtime.operators or {}), "ATAN2": (1, 1)}
    assert board.notes == (*base.notes, "ours")
    assert board.sources == base.sources


def test_several_are_extended_in_turn(tmp_path: Path) -> None:
    write(tmp_path / "below" / "one.toml", TINY + "[limits]\nfile_bytes = 1\nparts = 1\n")
    write(tmp_path / "two.toml", TINY + "[limits]\nfile_bytes = 2\n")
    path = write(
        tmp_path / "three.toml",
        'summary = "three"\nextends = ["below/one.toml", "two.toml", "gpu-delegate"]\n',
    )
    profile = load(path)
    assert profile.limits.file_bytes == 2
    assert profile.limits.parts == 1
    assert profile.accelerator is not None


@pytest.mark.parametrize("extends", ["../outside.toml", "/etc/outside.toml"])
def test_nothing_outside_the_folder_is_extended(tmp_path: Path, extends: str) -> None:
    write(tmp_path / "outside.toml", TINY)
    path = write(tmp_path / "in" / "side.toml", f'summary = ""\nextends = "{extends}"\n')
    with pytest.raises(UsageError, match="outside its folder"):
        load(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside.toml", TINY)
    path = write(tmp_path / "in" / "side.toml", 'summary = ""\nextends = "link.toml"\n')
    (tmp_path / "in" / "link.toml").symlink_to(tmp_path / "outside.toml")
    with pytest.raises(UsageError, match="outside its folder"):
        load(path)


def test_a_circle_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", 'summary = ""\nextends = "b.toml"\n')
    write(tmp_path / "b.toml", 'summary = ""\nextends = "a.toml"\n')
    with pytest.raises(UsageError, match=r"a\.toml → b\.toml → a\.toml"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "summary is missing"),
        ("summary = 3\n", "summary is 3"),
        (TINY + "colour = 'red'\n", "unknown key 'colour'"),
        (TINY + "extends = 7\n", "extends is 7"),
        (TINY + "extends = 'no-such-target'\n", "no target 'no-such-target'"),
        (TINY + "extends = '../../x'\n", "outside|no such file"),
        (TINY + "notes = 'x'\n", "notes is 'x'"),
        (TINY + "[limits]\nfile_bytes = 0\n", "file_bytes is 0"),
        (TINY + "[limits]\nfile_bytes = true\n", "file_bytes is True"),
        (TINY + "[limits]\ninputs = ['int9']\n", "'int9' is not a tensor type"),
        (TINY + "[limits]\naccelerated_share = 2\n", "accelerated_share is 2"),
        (TINY + "[runtime]\n", "name is missing"),
        (TINY + "[runtime]\nname = 'x'\ntensorflow_lite = 'new'\n", "a version such as"),
        (TINY + "[runtime]\nname = 'x'\n[runtime.operators]\nCONV2D = [1, 1]\n", "not an operator"),
        (TINY + "[runtime]\nname = 'x'\n[runtime.operators]\nADD = [3, 1]\n", r"\[FIRST, LAST\]"),
        (TINY + "[accelerator]\nname = 'x'\ntypes = ['int8']\n", "operators is missing"),
        (
            TINY + "[accelerator]\nname = 'x'\ntypes = []\noperators = []\n"
            "[accelerator.rules]\nADD = { colour = 1 }\n",
            "unknown key 'colour'",
        ),
        (TINY + "[[sources]]\nname = 'x'\n", "says is missing"),
        ("summary = \n", "cannot be read as TOML"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(write(tmp_path / "bad.toml", text))


@pytest.mark.parametrize("target", ["no-such-target", "Edge-TPU", "..", ""])
def test_an_unknown_name_lists_the_known(target: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(target)
    assert "edge-tpu" in caught.value.cure


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no profile"):
        load(str(tmp_path / "none.toml"))


def test_profiles_lie_in_the_package() -> None:
    assert SHIPPED.is_dir()
    assert SHIPPED.parent.name == "targets"


def test_the_table_of_versions() -> None:
    assert first_release("FULLY_CONNECTED", 12) == "2.17.0"
    assert first_release("BROADCAST_TO", 1) is None  # never released
    assert first_release("CONV_2D", 99) is None
    assert is_older("2.9.0", "2.14.0")
    assert not is_older("2.14", "2.14.0")


def test_the_table_of_versions_agrees_with_the_runtime_that_was_measured() -> None:
    """Two independent facts: TensorFlow's own table, and what tflite-runtime 2.14.0 registers."""
    runtime = load("tflite-runtime-2.14.0").runtime
    assert runtime is not None
    assert runtime.operators is not None
    for op, (first, last) in runtime.operators.items():
        for version in range(first, last + 1):
            release = first_release(op, version)
            assert release is not None, (op, version)
            assert not is_older("2.14.0", release), (op, version)
        beyond = first_release(op, last + 1)
        assert beyond is None or is_older("2.14.0", beyond), op
