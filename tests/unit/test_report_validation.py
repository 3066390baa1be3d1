"""The page of a validation: complete, self-contained, and safe whatever names come in."""

from __future__ import annotations

import html.parser
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import validation_results as made

from edgekit.errors import SetupError
from edgekit.pipeline.validation.reports import markdown
from edgekit.report import validation_details
from edgekit.report.thumbnails import thumbnail
from edgekit.report.validation import to_html
from edgekit.types import Verdict
from edgekit.validation_result import Figure, ValidationResult

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, and the text that a person sees, without nesting errors."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag
        if tag in {"td", "th", "dt", "dd", "text"}:  # what stands apart on a screen
            self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).replace("\N{NO-BREAK SPACE}", " ").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    paths = []
    for number in range(8):
        paths.append(folder / f"{number:04}.jpg")
        cv2.imwrite(str(paths[-1]), noise.integers(0, 255, (300, 400, 3), np.uint8))
    return paths


@pytest.fixture(scope="module")
def result(pictures: list[Path]) -> ValidationResult:
    return made.classifier(pictures=pictures)


@pytest.fixture(scope="module")
def page(result: ValidationResult) -> str:
    return to_html(replace(result, layers=tuple(made.layers("int8"))))


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def test_the_verdict_is_the_first_thing(read: Reader) -> None:
    start = read.text.index("2 of 4 candidates may ship.")
    assert start < 250
    assert "int8 may ship: top-1 drops 0.4 % ± 0.3 %, within the 1 % asked for" in read.text
    assert "int8, no preparation must not ship: top-1 drops 3.1 % ± 0.3 %" in read.text


def test_the_reason_and_the_advice_stand_beside_the_verdict(result: ValidationResult) -> None:
    told = made.diagnosed(result)
    name = told.candidates[-1].name
    text = Reader(to_html(told)).text
    begin = text.index(f"{name} m")
    found = text[begin : text.index("Compared with", begin)]
    assert "Why: The first bad operator is features.30.conv (CONV_2D)" in found
    assert "3 of 240 channels fill it." in found
    assert "Try: Take outliers out of the calibration data." in found
    summary = markdown(told)
    assert f"{name}\n\nMust not ship: " in summary
    assert "Try: Take outliers out" in summary[summary.index(f"{name}\n") :]


def test_everything_that_was_found_is_there(read: Reader) -> None:
    for wanted in (
        "22.3 dB", "4.93 MB", "74.7 % ± 1.2 %", "75.1 %",  # figures
        "drop of top-1 ≤ 1 %", "✓ pass", "✗ fail", "– not measured",  # gates
        "DEPTHWISE_CONV_2D", "great white shark → tiger shark", "p = 0.24",
        "features.30.conv", "3 of 240 channels fill it",  # layers
        "0003.jpg", "truth", "tiger shark 0.81",  # samples
        "−6.8 … 19.9", "2.1 %",  # drift
        "NVIDIA H200", "cd" * 32, "ab" * 32, "ef" * 32, "Intel Xeon",  # lineage
        "edgekit validate int8.tflite",
    ):  # fmt: skip
        assert wanted in read.text, wanted


def test_nothing_is_loaded_and_nothing_runs(page: str, read: Reader) -> None:
    assert not read.all("script")
    for _, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "data", "action", "srcset"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), target
    assert "@import" not in page
    assert all(part.startswith(("#", "data:")) for part in _urls(page))


def _urls(page: str) -> list[str]:
    return [part.partition(")")[0].strip("\"'") for part in page.split("url(")[1:]]


def test_identifiers_are_unique_and_links_lead_to_them(read: Reader) -> None:
    counts = Counter(one["id"] for _, one in read.elements if "id" in one)
    assert not [name for name, count in counts.items() if count > 1]
    targets = [one["href"] for _, one in read.elements if (one.get("href") or "").startswith("#")]
    assert targets
    assert {str(target)[1:] for target in targets} <= counts.keys()


def test_those_who_do_not_see_get_words(read: Reader) -> None:
    images = read.all("img")
    assert len(images) == 8
    assert all(image["alt"] for image in images)
    svgs = read.all("svg")
    assert len(svgs) == 5
    assert all(svg["role"] == "img" and len(svg["aria-label"] or "") > 30 for svg in svgs)
    assert [one for one in read.all("html") if one.get("lang")]
    assert len(read.all("h1")) == 1


def test_plots_have_the_colours_of_the_page(page: str) -> None:
    for svg in page.split("<svg")[1:]:
        drawing = svg.partition("</svg>")[0]
        assert "#" not in drawing.replace("url(#", "").replace('href="#', "")
        assert "var(--s1)" in drawing or "int8" in drawing
        assert "<text" in drawing  # letters, not outlines of letters


def test_a_page_is_small_and_the_same_each_time(result: ValidationResult, page: str) -> None:
    assert len(page.encode()) < 3_000_000
    assert to_html(replace(result, layers=tuple(made.layers("int8")))) == page


def test_pictures_can_be_left_out(result: ValidationResult) -> None:
    read = Reader(to_html(result, pictures=False))
    assert not read.all("img")
    assert "0003.jpg" in read.text
    assert "Pictures were left out on request" in read.text


def test_pictures_beyond_the_budget_are_named(
    result: ValidationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_details, "PICTURE_BYTES", 60_000)
    cards = validation_details.cards(result, pictures=True)
    held = [len(card.picture.data) for card in cards if card.picture]
    assert 0 < sum(held) <= 60_000
    assert len(held) < len(cards)


def test_each_bad_sample_is_shown_once_with_all_that_was_said(pictures: list[Path]) -> None:
    one = made.classifier(samples=4, pictures=pictures).candidates[1]
    twin = replace(one, name="twin", worst=tuple(reversed(one.worst)))
    equal = replace(one, name="equal", worst=made.worst(pictures, 90.0))
    result = replace(made.classifier(samples=4), candidates=(one, twin, equal))
    cards = validation_details.cards(result, pictures=False)
    assert [card.sample.id for card in cards] == [sample.id for sample in one.worst]
    assert all([name for _, name, _ in card.said] == ["int8", "twin"] for card in cards)


def test_a_sample_with_nan_comes_first() -> None:
    one = made.classifier(samples=4).candidates[1]
    worst = (*one.worst[:2], replace(one.worst[2], sqnr_db=math.nan))
    result = replace(made.classifier(samples=4), candidates=(replace(one, worst=worst),))
    cards = validation_details.cards(result, pictures=True)
    assert cards[0].sample.id == one.worst[2].id
    assert all(card.picture is None for card in cards)


def test_a_detector_without_labels() -> None:
    read = Reader(to_html(made.detector()))
    assert "yolo_int8 may ship: mAP 50 against the reference's boxes is 91.2 % ± 2.0 %" in read.text
    assert "without labels" in read.text
    assert "class 16 48.0 % 31.0 % −17.0 %" in read.text
    assert "Changed decisions" not in read.text


def test_a_candidate_that_does_not_run_stands_beside_the_others(result: ValidationResult) -> None:
    both = replace(result, candidates=(made.failed(), result.candidates[1]))
    read = Reader(to_html(both))
    assert "broken must not ship: The runtime crashed with signal 11" in read.text
    assert "1 of 2 candidates may ship" in read.text
    only = Reader(to_html(replace(result, candidates=(made.failed(),))))
    assert not only.all("svg")
    assert "Reproduce" in only.text


def test_a_single_sample_has_no_intervals() -> None:
    read = Reader(to_html(made.single_sample()))
    assert "±" not in read.text
    assert "top-1 drops 0.4 %, within the 1 % asked for" in read.text
    assert len(read.all("svg")) == 2  # one value has no distribution


def test_an_interrupted_run_says_so_first(result: ValidationResult) -> None:
    read = Reader(to_html(replace(result, complete=False)))
    assert read.text.index("This run was interrupted.") < 250
    assert "int8 may ship, as far as the run got" in read.text


def test_what_is_not_proven_is_on_the_page(result: ValidationResult) -> None:
    one = result.candidates[0]
    (first, *others) = one.verdict.gates
    verdict = Verdict(gates=(replace(first, state="not proven"), *others), missing=("Too few.",))
    read = Reader(to_html(replace(result, candidates=(replace(one, verdict=verdict),))))
    assert "is not proven: Too few" in read.text
    assert "? not proven" in read.text


def test_nothing_known_is_still_a_page(result: ValidationResult) -> None:
    assert "No candidate was validated" in Reader(to_html(replace(result, candidates=()))).text
    empty = replace(made.failed("new"), error="")
    read = Reader(to_html(replace(result, candidates=(empty,))))
    assert "new is not proven: no gate was asked for" in read.text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_that_are_not_finite_break_nothing(result: ValidationResult, value: float) -> None:
    one = result.candidates[1]
    assert one.parity is not None
    output = replace(
        one.parity.outputs[0],
        sqnr_db=value,
        worst_sqnr_db=value,
        per_sample_sqnr_db=(value,) * 5,
    )
    broken = replace(
        one,
        parity=replace(one.parity, outputs=(output,)),
        figures=(Figure(name="top1_drop", value=value), Figure(name="top1_accuracy", value=value)),
        metrics={"sqnr_db": value, "worst_sqnr_db": value},
        drift=(replace(one.drift[0], seen=(-value, value), clipped=value),),
        worst=(replace(one.worst[0], sqnr_db=value),),
    )
    layers = tuple(replace(layer, sqnr_db=value, added_db=value) for layer in made.layers(one.name))
    read = Reader(to_html(replace(result, candidates=(broken, one), layers=layers)))
    assert "NaN" in read.text or "∞" in read.text


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg></style><svg onload=alert(1)>",
    "]]><!-- {{ 7*7 }} {% raw %} $\\frac{1}{$ \\alpha",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "\x00\x1b[31m\udcff\u202e\u2028",
    "模型 🦊 x" * 60,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_from_outside_are_only_text(text: str) -> None:
    base = made.classifier(samples=20)
    one = base.candidates[1]
    assert one.contract is not None
    assert one.timing is not None
    assert one.parity is not None
    output = replace(one.contract.outputs[0], labels=(text,) * 12)
    hostile = replace(
        one,
        name=text,
        path=Path("/models") / text.replace("\x00", ""),
        contract=replace(one.contract, outputs=(output,)),
        parity=replace(
            one.parity, outputs=(replace(one.parity.outputs[0], name=text, worst_sample=text),)
        ),
        figures=(*one.figures, Figure(name=text, value=0.5)),
        timing=replace(
            one.timing,
            operators=(replace(one.timing.operators[0], operator=text, delegate=text),),
        ),
        worst=(replace(one.worst[0], id=text, label=text, reference=text, candidate=text),),
        drift=(replace(one.drift[0], name=text),),
        verdict=Verdict(gates=(made.gate(text, "<=", 1, "fail", 2.0, why=text),)),
        notes=(text,),
    )
    result = replace(
        base,
        title=text,
        reference=replace(
            base.reference, name=text, device=text, digest=text, versions={text: text}
        ),
        data=replace(base.data, path=text, layout=text, notes=(text,), skipped=(text,)),
        candidates=(hostile, replace(made.failed(), error=text)),
        environment={text: text},
        command=text,
        notes=(text,),
    )
    layers = tuple(replace(layer, candidate=text, name=text) for layer in made.layers("int8"))
    page = to_html(replace(result, layers=layers))
    assert page.encode("utf-8")
    read = Reader(page)
    assert not read.all("script")
    assert not read.all("img")
    assert not [1 for _, one in read.elements for name in one if name.startswith("on")]
    assert len(read.all("svg")) == 5
    assert len(read.all("style")) == 1
    assert "alert(1)" not in "".join(str(one.get("href")) for one in read.all("a"))
    if text.isprintable():
        assert " ".join(text.split()) in read.text


def test_without_matplotlib_the_cure_is_named(
    result: ValidationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SetupError) as caught:
        to_html(result)
    assert "edgekit-tflite[report]" in caught.value.cure


# ------------------------------------------------------------------------------ thumbnails


def test_a_thumbnail_keeps_the_shape_and_the_picture(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 255, 2000).astype(np.uint8)[None], 1000, axis=0)
    cv2.imwrite(str(tmp_path / "wide.jpg"), ramp)
    small = thumbnail(tmp_path / "wide.jpg", side=200)
    assert small is not None
    assert (small.kind, small.width, small.height, small.tiny) == ("jpeg", 200, 100, False)
    pixels = cv2.imdecode(np.frombuffer(small.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    wanted = cv2.resize(ramp, (200, 100), interpolation=cv2.INTER_AREA)
    assert abs(pixels.astype(int) - wanted).mean() < 2
    assert len(small.uri) < 10_000


def test_a_tiny_picture_is_kept_as_it_is(tmp_path: Path) -> None:
    digit = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "digit.png"), digit)
    small = thumbnail(tmp_path / "digit.png")
    assert small is not None
    assert small.tiny
    assert (cv2.imdecode(np.frombuffer(small.data, np.uint8), cv2.IMREAD_COLOR) == digit).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0" + b"\x00" * 40])
def test_what_is_no_picture_has_no_thumbnail(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    assert thumbnail(tmp_path / "x.jpg") is None
    assert thumbnail(tmp_path / "absent.jpg") is None
    assert thumbnail(tmp_path) is None
    assert thumbnail(Path("a\x00b")) is None


def test_a_candidate_equal_to_the_reference_is_exact_and_squeezes_no_plot() -> None:
    base = made.classifier(samples=10)
    one = base.candidates[1]
    assert one.parity is not None
    output = replace(
        one.parity.outputs[0],
        sqnr_db=200.0,
        worst_sqnr_db=200.0,
        per_sample_sqnr_db=(200.0,) * 10,
    )
    equal = replace(
        one, name="equal", parity=replace(one.parity, outputs=(output,)), metrics={}, worst=()
    )
    read = Reader(to_html(replace(base, candidates=(equal,), notes=("once", "once"))))
    assert "raw SQNR exact" in read.text
    assert "SQNR per sample" not in read.text
    assert read.text.count("once") == 1
