"""What a conversion read: recorded, found again, and named where it is not what it was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.provenance.code import find_module, model_code, search_folders
from edgekit.provenance.inputs import compare, found, lock_data, lock_input, written
from edgekit.provenance.lock import Lock

cv2 = pytest.importorskip("cv2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where convert is typed: a model, pictures in class folders, arrays, an output folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"net")
    rng = np.random.default_rng(0)
    for name in ("cat/0", "cat/1", "dog/0", "dog/1"):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    np.save(tmp_path / "arrays.npy", rng.normal(size=(4, 3)))
    (tmp_path / "out").mkdir()
    return tmp_path


USED = ("cat/1.png", "dog/0.png")


def make_lock(folder: Path, data: str = "photos", ids: tuple[str, ...] = USED) -> Lock:
    out = folder / "out"
    return Lock(
        edgekit="1",
        command="",
        request={},
        inputs=(lock_input("model", Path("net.onnx"), out),),
        data=(lock_data("calibration", Path(data), ids, "tensors", out),),
    )


def differences(folder: Path, lock: Lock, **moved: Path) -> list[tuple[str, str]]:
    _, found = compare(lock, folder / "out", moved)
    return [(one.role, one.why) for one in found]


def test_paths_are_relative_to_the_lock_or_to_here_or_absolute(folder, tmp_path_factory):
    out = folder / "out"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert written(out / "a" / "b.txt", out) == "a/b.txt"
    assert written(Path("out/b.txt"), Path("out")) == "b.txt"
    assert written(Path("x/../net.onnx"), out) == "net.onnx"
    assert written(elsewhere / "x", out) == str(elsewhere / "x")
    assert found("net.onnx", out) == Path("net.onnx")
    (out / "net.onnx").write_bytes(b"beside the lock")
    assert found("net.onnx", out) == out / "net.onnx"


def test_nothing_changed(folder):
    lock = make_lock(folder)
    places, differing = compare(lock, folder / "out", {})
    assert differing == ()
    assert places == {"model": Path("net.onnx"), "calibration": Path("photos")}
    assert [one.id for one in lock.data[0].samples] == list(USED)
    assert lock.data[0].available == 4


def test_a_changed_or_missing_file_is_named(folder):
    lock = make_lock(folder)
    Path("net.onnx").write_bytes(b"other")
    assert differences(folder, lock) == [("model", "has another content")]
    Path("net.onnx").unlink()
    assert differences(folder, lock) == [("model", "is not there")]


def test_a_changed_picture_is_named(folder):
    lock = make_lock(folder)
    picture = Path("photos/dog/0.png")
    picture.write_bytes(picture.read_bytes() + b"x")
    assert differences(folder, lock) == [("calibration", "has another dog/0.png")]


def test_a_picture_that_was_not_used_may_change(folder):
    lock = make_lock(folder)
    Path("photos/cat/0.png").write_bytes(Path("photos/dog/1.png").read_bytes())
    assert differences(folder, lock) == []


def test_a_missing_picture_is_named(folder):
    lock = make_lock(folder)
    Path("photos/cat/1.png").unlink()
    assert differences(folder, lock) == [("calibration", "lacks cat/1.png")]


def test_another_picture_in_the_folder_would_be_another_choice(folder):
    lock = make_lock(folder)
    Path("photos/dog/2.png").write_bytes(Path("photos/dog/1.png").read_bytes())
    ((role, why),) = differences(folder, lock)
    assert role == "calibration"
    assert "5 samples" in why
    assert "4 that were there" in why


def test_an_array_is_one_file(folder):
    lock = make_lock(folder, "arrays.npy", ("arrays.npy[0]", "arrays.npy[2]"))
    assert differences(folder, lock) == []
    np.save("arrays.npy", np.ones((4, 3)))
    assert differences(folder, lock) == [("calibration", "has another content")]
    Path("arrays.npy").unlink()
    Path("arrays.npy").mkdir()
    assert differences(folder, lock) == [("calibration", "is a folder now")]


def test_an_empty_folder_says_so(folder):
    lock = make_lock(folder, ids=())
    for picture in Path("photos").rglob("*.png"):
        picture.unlink()
    ((_, why),) = differences(folder, lock)
    assert "cannot be read" in why


def test_inputs_that_were_moved(folder):
    lock = make_lock(folder)
    Path("photos").rename("pictures")
    Path("net.onnx").rename("model.onnx")
    assert differences(folder, lock) == [
        ("model", "is not there"),
        ("calibration", "is not there"),
    ]
    moved = {"model": Path("model.onnx"), "calibration": Path("pictures")}
    assert differences(folder, lock, **moved) == []


def test_parity_data_moves_with_the_calibration_data_that_it_is_a_part_of(folder):
    lock = make_lock(folder)
    parity = lock_data("parity", Path("photos"), ("cat/0.png",), "tensors", folder / "out")
    lock = Lock(edgekit="1", command="", request={}, data=(*lock.data, parity))
    Path("photos").rename("pictures")
    places, differing = compare(lock, folder / "out", {"calibration": Path("pictures")})
    assert differing == ()
    assert places["parity"] == Path("pictures")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(folder):
    lock = make_lock(folder)
    Path("net.onnx").chmod(0)
    ((_, why),) = differences(folder, lock)
    assert "cannot be read" in why


# ------------------------------------------------------------------------- a model's code


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def names(folder: Path, start: str) -> list[str]:
    code = model_code(folder / start, (folder,))
    return [file.relative_to(folder).as_posix() for file in code.files]


def test_the_files_that_a_model_imports_are_found_and_not_run(tmp_path):
    write(
        tmp_path,
        net="import os, numpy\nimport blocks\nfrom parts import heads\nraise SystemExit",
        blocks="from parts.more import x",
        parts__heads="from . import shared\nfrom .deep import thing",
        parts__shared="import net",
        parts__deep__thing="",
        parts__more="",
        unused="",
    )
    (tmp_path / "parts" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "parts" / "deep" / "__init__.py").write_text("", encoding="utf-8")
    assert sorted(names(tmp_path, "net.py")) == [
        "blocks.py",
        "net.py",
        "parts/__init__.py",
        "parts/deep/__init__.py",
        "parts/deep/thing.py",
        "parts/heads.py",
        "parts/more.py",
        "parts/shared.py",
    ]
    assert names(tmp_path, "net.py")[0] == "net.py"


def test_the_packages_of_a_named_module_run_too(tmp_path):
    write(tmp_path, a__b__net="", helper="")
    for name in ("a", "a/b"):
        (tmp_path / name / "__init__.py").write_text("import helper", encoding="utf-8")
    start = tmp_path / "a" / "b" / "net.py"
    code = model_code(start, (tmp_path,), module="a.b.net")
    found = [file.relative_to(tmp_path).as_posix() for file in code.files]
    assert found[0] == "a/b/net.py"
    assert set(found) == {"a/b/net.py", "a/__init__.py", "a/b/__init__.py", "helper.py"}


def test_what_is_installed_is_told_by_its_version(tmp_path):
    write(tmp_path, net="import numpy.linalg\nimport os\nimport nobody_has_this")
    code = model_code(tmp_path / "net.py", (tmp_path,))
    assert code.versions == {"numpy": np.__version__}


@pytest.mark.parametrize(
    "text",
    ["def f(:", "\0", "from .... import x", "import a." + "b." * 3000 + "c"],
    ids=["syntax", "null", "no parent", "long"],
)
def test_code_that_cannot_be_read_stops_nothing(tmp_path, text):
    write(tmp_path, net=text)
    assert names(tmp_path, "net.py") == ["net.py"]


def test_where_a_module_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    write(tmp_path / "src", package__nets="")
    folders = search_folders(tmp_path / "models" / "net.py")
    assert folders == (tmp_path / "models", tmp_path, tmp_path / "src")
    assert find_module("package.nets", folders) == tmp_path / "src" / "package" / "nets.py"
    assert find_module("numpy", folders) is None
