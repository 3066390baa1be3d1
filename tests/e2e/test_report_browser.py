"""The page of a validation in a real browser: on a desk and on a phone, by day and by night."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import validation_results as made

from edgekit.report.validation import to_html

from .browser import Page, chromium, find

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find() is None, reason="no Chromium here (Debian: apt install chromium)"),
]

SCREENS = [(1100, False), (1100, True), (375, False), (375, True), (320, False)]
AA_TEXT = 4.5
"""The contrast that WCAG 2 asks of text (level AA)."""

CONTRASTS = """
(() => {
  const luminance = color => {
    const [r, g, b] = color.map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
    }
    return parse(getComputedStyle(document.body).backgroundColor).slice(0, 3);
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest('style') || element.tagName === 'title') continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color).slice(0, 3);
    const [a, b] = [luminance(ink), luminance(ground(element))].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), element.textContent.trim().slice(0, 40)]);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four candidates with pictures of two sizes, layers, and names that are long and hostile."""
    folder = tmp_path_factory.mktemp("report")
    noise = np.random.default_rng(0)
    pictures = []
    for number, side in enumerate((400, 8, 300, 200)):
        pictures.append(folder / f"{number:04}.png")
        cv2.imwrite(str(pictures[-1]), noise.integers(0, 255, (side, side, 3), np.uint8))
    result = made.classifier(pictures=pictures)
    first, *others = result.candidates
    hostile = replace(
        first,
        name="</svg><script>document.title = 'taken'; throw 1</script>" + "long_name_" * 30,
        path=Path("/a" * 200),
        worst=made.worst(pictures, 9.0),
    )
    page = folder / "report.html"
    page.write_text(
        to_html(
            replace(
                result,
                candidates=(hostile, *others),
                command="edgekit " + "x" * 500,
                layers=tuple(made.layers("int8")),
            )
        ),
        encoding="utf-8",
    )
    return page


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_on_a_screen(browser: Page, report: Path, width: int, dark: bool) -> None:
    browser.open(report, width=width, dark=dark)
    assert browser.messages == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [report.as_uri()]
    assert browser.js("innerWidth") == width
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.js("document.title").startswith("2 of 4 candidates may ship")

    plots = browser.js(
        "[...document.querySelectorAll('figure svg')].map(svg => {"
        "const box = svg.getBoundingClientRect();"
        "return [box.left, box.right, box.width, box.height, svg.querySelectorAll('path').length]})"
    )
    assert len(plots) == 5
    for left, right, wide, high, paths in plots:
        assert left >= 0
        assert right <= width
        assert wide > 0.8 * min(width, 375)
        assert high > 80
        assert paths > 10

    pictures = browser.js(
        "[...document.images].map("
        "i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width])"
    )
    assert len(pictures) == 4
    assert all(done and natural and shown > 100 for done, natural, shown in pictures)


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(browser: Page, report: Path, dark: bool) -> None:
    browser.open(report, width=1100, dark=dark)
    ground = browser.js("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 23, 29)" if dark else "rgb(255, 255, 255)")
    contrasts = browser.js(CONTRASTS)
    assert len(contrasts) > 300
    weak = {text: round(contrast, 2) for contrast, text in contrasts if contrast < AA_TEXT}
    marks = set("●■◆▲▼✚✓✗")  # beside words that say the same
    assert not {text: contrast for text, contrast in weak.items() if not set(text) <= marks}


def test_letters_of_plots_are_large_enough_on_a_phone(browser: Page, report: Path) -> None:
    browser.open(report, width=375)
    sizes = browser.js(
        "[...document.querySelectorAll('figure svg')].flatMap(svg => {"
        "const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;"
        "return [...svg.querySelectorAll('text')].map("
        "t => scale * parseFloat(getComputedStyle(t).fontSize))})"
    )
    assert len(sizes) > 40
    assert min(sizes) >= 9


def test_wide_tables_scroll_within_themselves(browser: Page, report: Path) -> None:
    browser.open(report, width=375)
    scrolled = browser.js(
        "(() => { const box = document.querySelector('#candidates .scroll');"
        "box.scrollLeft = 10000; return [box.scrollLeft, box.scrollWidth, box.clientWidth,"
        "box.querySelector('th[scope=row]').getBoundingClientRect().left, scrollX] })()"
    )
    moved, wide, shown, first_column, page = scrolled
    assert moved == wide - shown > 0
    assert first_column >= 0  # the names of the rows stay in sight
    assert page == 0


@pytest.mark.parametrize("result", [made.detector(), made.single_sample()], ids=["detector", "one"])
def test_smaller_results(browser: Page, tmp_path: Path, result: made.ValidationResult) -> None:
    page = tmp_path / "report.html"
    page.write_text(to_html(result), encoding="utf-8")
    browser.open(page, width=375)
    assert browser.messages == []
    assert browser.js("document.documentElement.scrollWidth") <= 375
    assert browser.js("document.querySelectorAll('figure svg').length") >= 2
    browser.screenshot(tmp_path / "page.png")
    assert cv2.imread(str(tmp_path / "page.png")).shape[1] == 375
