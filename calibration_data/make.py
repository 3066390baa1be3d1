# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "numpy==1.26.4",
#   "opencv-python-headless==4.10.0.84",
#   "scikit-image==0.24.0",
#   "scikit-learn==1.5.2",
#   "scipy==1.11.4",  # the last series with scipy.misc.face and ascent inside
# ]
# ///
"""Make the pictures and ``manifest.toml`` of this folder.

    apt-get download gcompris-qt-data=3.1-2
    uv run calibration_data/make.py gcompris-qt-data_3.1-2_all.deb

The pictures are square crops of photographs that come inside of Python packages and of Debian's
`gcompris-qt-data`. With the pinned versions the same bytes come out every time. No source serves
both splits.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import sys
import tarfile
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
SIDE = 256
QUALITY = 90
CC0 = "CC0-1.0"
PUBLIC_DOMAIN = "LicenseRef-Public-Domain"
CC_BY = "CC-BY-2.0"
FREE = {"cc0-1.0": CC0, "public domain": PUBLIC_DOMAIN}
"""The licences that are taken from GCompris, as its READMEs write them."""
HEADER = (
    "# Written by make.py; do not edit. Square crops of photographs that are free to share.\n"
    "# CC-BY-2.0 (https://creativecommons.org/licenses/by/2.0/) asks to name the author."
)


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A source photograph and the squares to cut from it, as (left, top, side) in pixels."""

    name: str
    package: str
    split: str
    licence: str
    author: str
    crops: tuple[tuple[int, int, int], ...]
    origin: str = ""
    path: str = ""


def calibrating(name: str, licence: str, author: str, origin: str, *crops: Any) -> Photo:
    """A calibration photograph that scikit-image ships (licences: docstrings of skimage.data)."""
    return Photo(
        name=name, package="scikit-image", split="calibration", licence=licence, author=author,
        origin=origin, crops=crops,
    )  # fmt: skip


PACKAGED = (
    calibrating("astronaut", PUBLIC_DOMAIN, "NASA", "https://flic.kr/p/r9qvLn",
            (0, 0, 512), (140, 0, 256), (0, 90, 256), (256, 0, 256), (40, 256, 256),
            (256, 256, 256), (110, 150, 280)),
    calibrating("chelsea", CC0, "Stefan van der Walt", "",
            (75, 0, 300), (60, 60, 200), (200, 80, 200), (0, 100, 200), (240, 0, 200)),
    calibrating("rocket", PUBLIC_DOMAIN, "SpaceX",
            "https://www.flickr.com/photos/spacexphotos/16511594820/",
            (106, 0, 427), (0, 0, 256), (190, 60, 256), (384, 171, 256), (0, 171, 256)),
    calibrating("camera", CC0, "Lav Varshney", "",
            (0, 0, 512), (128, 32, 256), (0, 200, 256), (256, 96, 256), (256, 256, 256)),
    calibrating("hubble_deep_field", PUBLIC_DOMAIN, "NASA",
            "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
            (0, 0, 436), (500, 100, 300), (100, 500, 372)),
    calibrating("retina", CC0, "Mikael Häggström",
            "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
            (100, 100, 1200), (150, 450, 600)),
    calibrating("brick", CC0, "CC0Textures", "https://cc0textures.com/view.php?tex=Bricks25",
            (0, 0, 400)),
    calibrating("grass", CC0, "linolafett",
            "https://www.deviantart.com/linolafett/art/Grass-01-434853879", (56, 56, 400)),
    calibrating("gravel", CC0, "CC0Textures", "https://cc0textures.com/view.php?tex=Gravel04",
            (100, 100, 300)),
    Photo(
        name="china", package="scikit-learn", split="calibration", licence=CC_BY,
        author="danielbuechele",
        origin="https://www.flickr.com/photos/danielbuechele/6061409035/",
        crops=((0, 0, 427), (213, 0, 427), (90, 0, 220), (110, 180, 220), (400, 207, 220),
               (380, 60, 220)),
    ),
    Photo(
        name="flower", package="scikit-learn", split="parity", licence=CC_BY, author="vultilion",
        origin="https://www.flickr.com/photos/vultilion/6056698931/",
        crops=((106, 0, 427), (220, 100, 220), (0, 200, 220)),
    ),
    Photo(
        name="coffee", package="scikit-image", split="parity", licence=CC0,
        author="Rachel Michetti", crops=((100, 0, 400), (160, 20, 240), (0, 160, 240)),
    ),
    Photo(
        name="face", package="scipy", split="parity", licence=PUBLIC_DOMAIN, author="",
        origin="http://www.public-domain-image.com (raccoon-procyon-lotor.jpg)",
        crops=((256, 0, 768), (480, 60, 400), (0, 368, 400), (0, 0, 360)),
    ),
    Photo(
        name="ascent", package="scipy", split="parity", licence=PUBLIC_DOMAIN, author="",
        origin="http://www.public-domain-image.com (accent-to-the-top.jpg)",
        crops=((0, 0, 512), (180, 20, 280)),
    ),
)  # fmt: skip


DEB = "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f"
"""SHA-256 of ``gcompris-qt-data_3.1-2_all.deb``."""

GCOMPRIS = {
    "explore_farm_animals/resource/animals": "cat chicken cow dog duck horse owl pig sheep",
    "explore_world_animals/resource/animals": (
        "bison chameleon crocodile dragon giraffe hedgehog jaguar kangaroo koala lemur moose panda "
        "polar_bear scarlet_macaw"
    ),
    "erase/resource": "crab kingfisher pika red_panda",
    "explore_monuments/resource": (
        "egypt/redPyramid france/arlesAmphitheater france/chateaudeChambord "
        "france/chateaudeChenonceau france/eiffelTower france/montStMichel france/palaisdesPapes "
        "france/pontduGard france/reimsCathedral france/rocamadour germany/berlinCathedral "
        "germany/brandenburgGate germany/neuschwansteinCastle germany/wormsCathedral "
        "india/charminar india/goldenTemple india/hawaMahal india/mysorePalace india/qutubMinar "
        "india/rangGhar usa/canyondeChelly usa/fortSumter usa/lincolnMemorial usa/mountRushmore "
        "usa/statueofLiberty wonders/colosseum wonders/greatWallofChina wonders/machuPicchu "
        "wonders/petra"
    ),
    "categorization/resource/images/monuments": "burj parthenon zimniPalace",
    "categorization/resource/images/renewable": (
        "dam5 geothermal solar5 solar7 windmill windmill1 windmill13"
    ),
    "categorization/resource/images/fishes": "fish3 fish4 fish6 fish9 fish25 fish28",
    "categorization/resource/images/tools": "measuringTape2 multimeter2 screwDriver2",
    "categorization/resource/images/others": (
        "bucket buffetset chair igloo pan pillow spoons weighingMachine"
    ),
}
"""The photographs of GCompris that are used, by the folder that they and their README are in."""


def unpacked(deb: Path) -> dict[str, bytes]:
    """The files below ``activities/`` of GCompris that are photographs or say where they are from.

    A .deb is an ar archive with a tar archive inside, and that has a Qt resource file for every
    activity.
    """
    content = deb.read_bytes()
    if hashlib.sha256(content).hexdigest() != DEB:
        raise SystemExit(f"{deb} is not the version that the pictures are made from")
    place = 8
    while not content[place:].startswith(b"data.tar"):
        size = int(content[place + 48 : place + 58])
        place += 60 + size + size % 2
    size = int(content[place + 48 : place + 58])
    files = {}
    with tarfile.open(fileobj=io.BytesIO(content[place + 60 : place + 60 + size])) as archive:
        for activity in sorted({folder.split("/")[0] for folder in GCOMPRIS}):
            member = archive.extractfile(f"./usr/share/gcompris-qt/rcc/{activity}.rcc")
            assert member is not None
            for path, data in resources(member.read()):
                files[path.partition("/activities/")[2]] = data
    return files


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The paths and contents of a Qt resource file (format: qtbase, tools/rcc/rcc.cpp).

    What is compressed by anything but zlib is left out: no photograph is.
    """
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    record = 22 if version >= 2 else 14
    waiting = [(0, "")]
    while waiting:
        index, above = waiting.pop()
        at = tree + index * record
        name, flags, first, second = struct.unpack_from(">IHII", data, at)
        (length,) = struct.unpack_from(">H", data, names + name)
        text = data[names + name + 6 :][: 2 * length].decode("utf-16-be")
        path = f"{above}/{text}" if index else ""
        if flags & 2:  # a folder: how many children, and the first of them
            waiting += [(second + child, path) for child in range(first)]
        elif not flags & 4:
            (size,) = struct.unpack_from(">I", data, contents + second)
            content = data[contents + second + 4 :][:size]
            yield path, zlib.decompress(content[4:]) if flags & 1 else content


def of_gcompris(files: dict[str, bytes]) -> Iterator[Photo]:
    """The photographs of `GCOMPRIS`, each with what its folder's README says of it."""
    for folder, names in GCOMPRIS.items():
        paragraphs = files[f"{folder}/README"].decode().split("\n\n")
        for name in names.split():
            (said,) = (one for one in paragraphs if re.search(rf"(^|\s){name}\.webp$", one, re.M))
            facts = dict(re.findall(r"^(Copyright|License|Source): *(.+)$", said, re.MULTILINE))
            path = f"{folder}/{name}.webp"
            height, width = decoded(files[path]).shape[:2]
            side = min(height, width)
            yield Photo(
                name=re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition("/")[2]).lower(),
                package="gcompris-qt-data",
                split="parity",
                licence=FREE[facts["License"].lower()],
                author=facts["Copyright"],
                origin=facts["Source"],
                crops=(((width - side) // 2, (height - side) // 2, side),),
                path=path,
            )


def decoded(data: bytes) -> Any:
    """The RGB pixels of a picture file."""
    import cv2
    import numpy as np

    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def read(photo: Photo, files: dict[str, bytes]) -> Any:
    """The pixels of a source photograph, RGB or gray."""
    match photo.package:
        case "scikit-image":
            import skimage.data

            return getattr(skimage.data, photo.name)()
        case "gcompris-qt-data":
            return decoded(files[photo.path])
        case "scikit-learn":
            from sklearn.datasets import load_sample_image

            return load_sample_image(f"{photo.name}.jpg")
        case _:
            import scipy.misc

            with warnings.catch_warnings():  # deprecated there since it moved to a download
                warnings.simplefilter("ignore")
                return getattr(scipy.misc, photo.name)()


def encode(pixels: Any, crop: tuple[int, int, int]) -> bytes:
    """One crop as a JPEG of `SIDE` pixels."""
    import cv2
    import numpy as np

    left, top, side = crop
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side]).astype(np.uint8)
    if square.shape[:2] != (side, side):
        raise SystemExit(f"{crop} reaches over the border of {pixels.shape}")
    if square.ndim == 3:
        square = cv2.cvtColor(square, cv2.COLOR_RGB2BGR)
    smaller = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    square = cv2.resize(square, (SIDE, SIDE), interpolation=smaller)
    return cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def entry(photo: Photo, number: int, data: bytes) -> str:
    """The ``[[images]]`` table of one picture."""
    left, top, side = photo.crops[number]
    values = {
        "file": f"{photo.name}_{number}.jpg",
        "split": photo.split,
        "source": f"{photo.package}: {photo.path or photo.name}",
        "origin": photo.origin,
        "author": photo.author,
        "licence": photo.licence,
        "changes": f"cut to the square of {side} pixels at ({left}, {top}), scaled to {SIDE}",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    # A JSON string without escapes is a TOML string too.
    lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in values.items() if v]
    return "\n".join(["[[images]]", *lines])


def main() -> None:
    """Write all pictures and the manifest."""
    files = unpacked(Path(sys.argv[1]))
    entries = [HEADER]
    for photo in (*PACKAGED, *of_gcompris(files)):
        pixels = read(photo, files)
        for number, crop in enumerate(photo.crops):
            data = encode(pixels, crop)
            (FOLDER / f"{photo.name}_{number}.jpg").write_bytes(data)
            entries.append(entry(photo, number, data))
    (FOLDER / "manifest.toml").write_text("\n\n".join(entries) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
