"""Models by name: manifests, what is said where something is missing, notes that are read."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import SetupError, UsageError
from edgekit.presets.objects import preset_of_source
from edgekit.sources import recognise
from edgekit.toolchain.converters import shipped_folder
from edgekit.toolchain.named_models import named_models, named_request

sys.path += [str(Path(__file__).parents[2] / "converters" / part) for part in ("", "common")]
from named_source import inputs_of_notes, load_named

from edgekit_worker import WorkerError

MY_NETS = """
def available():
    return ["small", "large"]

def build(name, weights):
    if weights == "cached":
        raise FileNotFoundError(f"{name}.bin")
    return f"the {name} net"
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """The README's own example, and the package that it is about."""
    readme = (shipped_folder("sources") / "README.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(my_nets/\S+)`\n```\w+\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["my_nets/source.toml", "my_nets/source.py"]
    root = tmp_path / "others"
    for name, text in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "my_nets.py").write_text(MY_NETS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("EDGEKIT_SOURCES", str(root))
    monkeypatch.delenv("MY_NETS_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    return root


def request(location: str, **more: Any) -> dict[str, Any]:
    source = recognise(location)
    named = named_request(source)
    return {"location": location, "kind": source.kind, "named": named, "weights": None, **more}


def test_a_source_from_outside_makes_a_model_and_tells_how_it_is_fed(mine, monkeypatch):
    source = recognise("my:small")
    assert (source.kind, source.name, source.path) == ("torch", "small", None)
    monkeypatch.setenv("MY_NETS_OFFLINE", "0")
    model, notes = load_named(request("my:small", weights="w.pt"))
    assert model == "the small net"
    assert __import__("os").environ["MY_NETS_OFFLINE"] == "1"
    (spec,) = inputs_of_notes(notes)
    assert spec["shape"] == [1, 3, 224, 224]
    preset = preset_of_source(notes)
    assert (preset.labels, preset.task) == (("cat", "dog"), "classification")
    assert preset.preprocess["resize"] == [224, 224] or preset.preprocess["resize"] == (224, 224)


def test_missing_weights_and_names_are_told_with_what_to_type(mine):
    with pytest.raises(WorkerError) as caught:
        load_named(request("my:large"))
    assert "FileNotFoundError: large.bin" in str(caught.value)
    assert "my-nets download large" in caught.value.cure
    with pytest.raises(WorkerError) as caught:
        load_named(request("my:smal"))
    assert caught.value.cure == "Did you mean my:small?"


def test_a_package_that_is_not_there(mine):
    text = (mine / "my_nets" / "source.toml").read_text()
    changed = text.replace('package = "my_nets"', 'package = "no_such_package_here"')
    (mine / "my_nets" / "source.toml").write_text(changed)
    with pytest.raises(SetupError, match="no_such_package_here, which is not installed") as caught:
        recognise("my:small")
    assert caught.value.cure == "pip install my-nets"


def test_a_name_that_exists_twice_is_asked_back(mine, tmp_path):
    (tmp_path / "my.py").write_text("def small(): ...")
    with pytest.raises(UsageError, match=r"there is a my\.py here too") as caught:
        recognise("my:small")
    assert "my.py:small" in caught.value.cure


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "torch"', 'kind = "jax"', "kind is 'jax'"),
        ('fetch = "', 'fetched = "', "'fetch' is missing"),
        ('name = "my"', 'name = "My nets"', "is not a word"),
        ('summary = "', 'extra = 1\nsummary = "', "the key extra is unknown"),
    ],
)
def test_a_broken_manifest_is_named(mine, old, new, words):
    path = mine / "my_nets" / "source.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SetupError, match=words):
        named_models()


def test_the_built_in_sources():
    found = named_models()
    assert set(found) >= {"timm", "torchvision", "hf", "keras", "ultralytics", "hub", "tfhub"}
    assert all(one.program.is_file() and "{name}" in one.fetch for one in found.values())
    with pytest.raises(UsageError) as caught:
        recognise("resnet50")
    assert "timm:NAME" in caught.value.cure


def test_sizes_in_the_notes_of_others():
    def size(**notes: Any) -> Any:
        found = inputs_of_notes(notes)
        return found[0]["shape"] if found else None

    assert size(pretrained_cfg={"input_size": (3, 96, 64)}) == [1, 3, 96, 64]
    assert size(transforms={"crop_size": [224]}) == [1, 3, 224, 224]
    crop = {"do_center_crop": True, "crop_size": {"height": 5, "width": 6}, "size": 9}
    assert size(preprocessor=crop) == [1, 3, 5, 6]
    assert size(preprocessor=crop | {"do_center_crop": False}) == [1, 3, 9, 9]
    assert size(preprocessor={"size": {"longest_edge": 5}}) is None
    assert size() is None
    application = preset_of_source({"application": "mobilenet_v2", "size": [96, 96]})
    assert application.preprocess["scale"] == 1 / 127.5


def test_a_checkpoint_of_ultralytics_is_recognised_without_opening_it(tmp_path):
    path = tmp_path / "best.pt"
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("best/data.pkl", b"\x80\x02cultralytics.nn.tasks\nDetectionModel\nq\x00.")
    with pytest.raises(UsageError, match="a checkpoint of ultralytics") as caught:
        recognise(str(path))
    assert "edgekit convert ultralytics:" in caught.value.cure
    assert "yolo export model=" in caught.value.cure
    assert recognise(str(path), trust_pickle=True).kind == "torch_pickle"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages that are not installed here, as far as the sources use them."""
    site = tmp_path / "site"
    (site / "ultralytics" / "nn").mkdir(parents=True)
    (site / "tensorflow_hub.py").write_text("def resolve(name): raise OSError('no network')")
    (site / "ultralytics" / "__init__.py").write_text(
        "import os\n"
        "class YOLO:\n"
        "    def __init__(self, path):\n"
        "        if os.environ.get('ULTRALYTICS_SAFE_LOAD') == '1' and 'evil' in path:\n"
        "            raise TypeError('other classes')\n"
        "        import torch\n"
        "        self.model = torch.nn.Conv2d(3, 4, 1)\n"
        "        self.model.stride, self.model.task = torch.tensor([8.0, 32.0]), 'detect'\n"
        "        self.model.yaml, self.model.names = {}, {0: 'cat', 1: 'dog'}\n"
        "        self.model.args = {'imgsz': 64}\n"
    )
    (site / "ultralytics" / "utils.py").write_text(
        f"SETTINGS = {{'weights_dir': {str(tmp_path)!r}}}"
    )
    (site / "ultralytics" / "nn" / "__init__.py").touch()
    (site / "ultralytics" / "nn" / "tasks.py").write_text(
        "class _SafeLoad:\n    SUPPORTED = True\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    for name in ("ULTRALYTICS_SAFE_LOAD", "TORCH_HUB_OFFLINE", "TFHUB_OFFLINE", "YOLO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    yield tmp_path
    for name in [
        one for one in sys.modules if one.partition(".")[0] in ("ultralytics", "tensorflow_hub")
    ]:
        del sys.modules[name]


def refusal(location: str, **more: Any) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        load_named(request(location, **more))
    return caught.value


def test_a_checkpoint_of_ultralytics_tells_how_it_is_fed_and_runs_nothing_unasked(packages):
    for name in ("best.pt", "evil.pt"):
        (packages / name).write_bytes(b"PK")
    source = recognise("ultralytics:best.pt")
    assert (source.name, source.path, source.kind) == ("best", Path("best.pt"), "torch")
    _, notes = load_named(request("ultralytics:best.pt"))
    assert inputs_of_notes(notes)[0]["shape"] == [1, 3, 64, 64]
    preset = preset_of_source(notes)
    assert (preset.labels, preset.preprocess["letterbox"]) == (("cat", "dog"), True)
    assert preset.decoder is not None
    assert "--trust-pickle" in refusal("ultralytics:evil.pt").cure
    os.environ.pop("ULTRALYTICS_SAFE_LOAD")
    load_named(request("ultralytics:evil.pt", trust_pickle=True))
    assert "no weights" in str(refusal("ultralytics:net.yaml"))
    load_named(request("ultralytics:net.yaml", weights="w.pt"))
    (packages / "site/ultralytics/nn/tasks.py").write_text("")
    del sys.modules["ultralytics.nn.tasks"], sys.modules["ultralytics.nn"]
    assert "cannot read safely" in str(refusal("ultralytics:best.pt"))


HUBCONF = """
dependencies = ["math"{more}]
def net(pretrained=False): return ("net", pretrained)
def seen(*, weights=None, **_): return ("seen", weights)
"""


def test_entries_of_torch_hub_from_a_folder_and_from_the_cache(packages, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(packages / "torch"))
    cached = packages / "torch" / "hub"
    for folder in (packages / "mine", cached / "some_repo_main", cached / "other_repo_v1"):
        folder.mkdir(parents=True)
        (folder / "hubconf.py").write_text(HUBCONF.format(more=""))
    (cached / "other_repo_v2").mkdir()
    source = recognise("hub:mine/net")
    assert (source.name, source.path) == ("net", Path("mine"))
    assert load_named(request("hub:mine/net"))[0] == ("net", True)
    assert load_named(request("hub:mine/net", weights="w.pt"))[0] == ("net", False)
    assert load_named(request("hub:some/repo/seen"))[0] == ("seen", "DEFAULT")
    assert load_named(request("hub:other/repo:v1/net"))[0] == ("net", True)
    assert "hub:mine/net" in refusal("hub:mine/nett").cure
    assert "2 versions" in str(refusal("hub:other/repo/net"))
    assert "has no hubconf.py" in str(refusal("hub:other/repo:v2/net"))  # a damaged cache
    none = refusal("hub:no/repo/net")
    assert "no such repository in" in str(none)
    assert "torch.hub.list('no/repo')" in none.cure
    (packages / "some" / "repo").mkdir(parents=True)
    (packages / "some" / "repo" / "hubconf.py").write_text(HUBCONF.format(more=""))
    twice = refusal("hub:some/repo/net")
    assert "hub:./some/repo/net" in twice.cure
    assert load_named(request("hub:./some/repo/net"))[0] == ("net", True)
    (packages / "mine" / "hubconf.py").write_text(HUBCONF.format(more=", 'no_such_thing'"))
    assert "no_such_thing, which is not installed" in str(refusal("hub:mine/net"))


def test_saved_models_of_tensorflow_hub(packages, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(packages / "kept"))
    (packages / "net").mkdir()
    (packages / "net" / "saved_model.pb").touch()
    source = recognise("tfhub:net", signature="serve")
    assert (source.kind, source.path, source.signature) == ("saved_model", Path("net"), "serve")
    assert load_named(request("tfhub:net"))[0] == "net"
    address = "https://tfhub.dev/some/net/1"
    assert f"{address} is not in" in str(refusal(f"tfhub:{address}"))
    kept = packages / "kept" / hashlib.sha1(address.encode()).hexdigest()
    kept.mkdir(parents=True)
    assert "damaged" in str(refusal(f"tfhub:{address}"))
    (kept / "saved_model.pb").touch()
    assert load_named(request(f"tfhub:{address}"))[0] == str(kept)
    assert "neither a folder nor an address" in str(refusal("tfhub:nothing"))
    with pytest.raises(UsageError, match="--signature is for a SavedModel"):
        recognise("hub:net/x", signature="serve")
