"""What is told of a float file: that it has grown, that its outputs' axes differ."""

from __future__ import annotations

from pathlib import Path

from edgekit.pipeline.file_notes import notes_on
from edgekit.types import Binding


def binding(name: str, *permutation: int) -> Binding:
    return Binding(reference=name, candidate=name, permutation=permutation)


def test_a_file_that_grew_is_told(tmp_path: Path) -> None:
    source, file = tmp_path / "net.onnx", tmp_path / "net.tflite"
    source.write_bytes(bytes(1_900_000))
    file.write_bytes(bytes(27_400_000))
    (note,) = notes_on(source, file, [])
    assert "27.4 MB" in note
    assert "net.onnx 1.9 MB" in note
    file.write_bytes(bytes(2_000_000))
    assert not list(notes_on(source, file, []))
    assert not list(notes_on(None, file, []))


def test_a_folder_counts_with_all_its_files(tmp_path: Path) -> None:
    source, file = tmp_path / "saved", tmp_path / "net.tflite"
    (source / "variables").mkdir(parents=True)
    (source / "variables" / "data").write_bytes(bytes(3_000_000))
    file.write_bytes(bytes(4_000_000))
    assert not list(notes_on(source, file, []))


def test_outputs_of_different_layouts_are_told(tmp_path: Path) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes(b"")
    mixed = [binding("mask", 0, 2, 3, 1), binding("map", 0, 1, 2, 3), binding("scores", 0, 1)]
    (note,) = notes_on(None, file, mixed)
    assert note == "The axes of mask are turned in the files, those of map are the model's."
    assert not list(notes_on(None, file, [mixed[0], mixed[2]]))
    assert not list(notes_on(None, file, mixed[1:]))
