"""The page on a phone, a tablet and a desk's screen, in a real browser."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mri2pet.report import ReportInput, make_report

SIZES = {"phone": (390, 844, True), "tablet": (768, 1024, True), "desk": (1280, 800, False)}
SPACE_BELOW_PX = 4
SMALLEST_LETTER_PX = 12
FRAMES = 120

spec = importlib.util.spec_from_file_location("chromium", Path(__file__).parent / "chromium.py")
assert spec is not None
assert spec.loader is not None
chromium = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chromium)

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed")

DRAWN = """new Promise(done => {
  const look = () => document.getElementById("reading").textContent
    ? done() : requestAnimationFrame(look);
  look();
})"""

FIGURES = """(() => {
  const box = (element) => {
    const {left, right, top, bottom} = element.getBoundingClientRect();
    return {left, right, top, bottom, text: element.innerText ?? "",
            seen: element.checkVisibility({opacityProperty: true, visibilityProperty: true})};
  };
  return [...document.querySelectorAll("figure")].map((figure) => {
    const picture = figure.querySelector("img, canvas");
    return {name: picture.alt ?? picture.ariaLabel,
            pictures: figure.querySelectorAll("img, canvas").length,
            frame: box(figure), picture: box(picture),
            caption: box(figure.querySelector("figcaption")),
            scales: [...figure.querySelectorAll(".scale")].map(box).filter((b) => b.seen)};
  });
})()"""

TOO_WIDE = """[...document.body.querySelectorAll("*")].filter((e) => {
  const {left, right} = e.getBoundingClientRect();
  return left < -0.5 || right > innerWidth + 0.5 || (e.matches("td, th") &&
    e.scrollWidth > e.clientWidth);
}).map((e) => e.outerHTML.slice(0, 100))"""

STATE = """(() => {
  const value = (name) => document.getElementById(name).value;
  const picture = (view) => document.getElementById("view-" + view).toDataURL();
  return {reading: document.getElementById("reading").textContent,
          axial: value("slice-axial"), coronal: value("slice-coronal"),
          sagittal: value("slice-sagittal"), opacity: value("opacity"),
          picture: picture("axial") + picture("coronal") + picture("sagittal")};
})()"""


@pytest.fixture(scope="module")
def address(content: ReportInput, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(make_report(content), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser = chromium.Chromium(chromium.find(), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module", params=SIZES)
def screen(request: pytest.FixtureRequest, browser: Any, address: str) -> tuple[Any, int]:
    """The page as it opens on a screen, and the screen's width."""
    return opened(browser, address, request.param), SIZES[request.param][0]


def opened(browser: Any, address: str, size: str) -> Any:
    browser.open(address, *SIZES[size])
    browser.evaluate(DRAWN)
    return browser


def centre(
    browser: Any, selector: str, right: float = 0.5, down: float = 0.5
) -> tuple[float, float]:
    """A point of an element that was brought to the middle of the screen."""
    x, y = browser.evaluate(
        f"""(() => {{
          const element = document.querySelector({selector!r});
          element.scrollIntoView({{block: "center", behavior: "instant"}});
          const box = element.getBoundingClientRect();
          return [box.left + {right} * box.width, box.top + {down} * box.height];
        }})()"""
    )
    return x, y


def soon(browser: Any, condition: str) -> bool:
    """Whether a condition of the page comes true within FRAMES of its pictures."""
    return browser.evaluate(
        f"""new Promise(done => {{
          let frames = 0;
          const look = () => ({condition}) ? done(true)
            : ++frames > {FRAMES} ? done(false) : requestAnimationFrame(look);
          look();
        }})"""
    )


def touch(browser: Any, kind: str, *points: tuple[float, float]) -> None:
    browser.call(
        "Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points]
    )


def tap(browser: Any, point: tuple[float, float], effect: str) -> None:
    """A finger that touches a point; the page is waited for until the effect shows."""
    touch(browser, "touchStart", point)
    touch(browser, "touchEnd")
    assert soon(browser, effect)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_every_picture_keeps_its_caption_and_scale(screen: tuple[Any, int]) -> None:
    page, _ = screen
    figures = page.evaluate(FIGURES)
    assert len(figures) == 12 + 3 + 12 + 6
    assert page.evaluate('document.querySelectorAll("img, canvas").length') == len(figures)
    for figure in figures:
        picture, caption, scales = figure["picture"], figure["caption"], figure["scales"]
        assert figure["pictures"] == 1
        assert picture["seen"], figure["name"]
        assert caption["seen"], figure["name"]
        assert caption["text"].strip(), figure["name"]
        coloured = figure["name"].startswith(("synthetic PET", "spread")) or (
            figure["name"].endswith("view")
        )
        assert len(scales) == coloured, figure["name"]
        above = picture
        for below in (caption, *scales):
            assert 0 <= below["top"] - above["bottom"] <= SPACE_BELOW_PX, figure["name"]
            assert below["left"] == pytest.approx(picture["left"], abs=1)
            assert below["right"] == pytest.approx(picture["right"], abs=1)
            above = below


def test_pictures_stay_apart_and_planes_together(screen: tuple[Any, int]) -> None:
    page, _ = screen
    frames = [figure["frame"] for figure in page.evaluate(FIGURES)]
    for i, one in enumerate(frames):
        for other in frames[:i]:
            assert (
                one["top"] >= other["bottom"]
                or other["top"] >= one["bottom"]
                or one["left"] >= other["right"]
                or other["left"] >= one["right"]
            )
    for plane, following in zip(range(0, 12, 4), range(4, 16, 4), strict=True):
        bottom = max(frame["bottom"] for frame in frames[plane:following])
        assert bottom < frames[following]["top"]


def test_nothing_is_wider_than_the_screen(screen: tuple[Any, int]) -> None:
    page, width = screen
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []
    letters = page.evaluate(
        '[...document.querySelectorAll("td, th, caption, figcaption, .ticks")]'
        ".map((e) => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(letters) >= SMALLEST_LETTER_PX


def swipe_up(browser: Any, start: str) -> bool:
    """Whether a finger that moves up 200 px from an element scrolls the page with it."""
    x, y = centre(browser, start)
    at = browser.evaluate("scrollY")
    touch(browser, "touchStart", (x, y))
    for way in range(20, 220, 20):
        touch(browser, "touchMove", (x, y - way))
    touch(browser, "touchEnd")
    return soon(browser, f"scrollY > {at} + 100")


@pytest.mark.parametrize(
    "start", [".card", ".planes img", "#view-axial", "#view-sagittal", ".trio img", "table"]
)
def test_a_finger_scrolls_the_page(browser: Any, address: str, start: str) -> None:
    page = opened(browser, address, "phone")
    before = page.evaluate(STATE)
    assert swipe_up(page, start)
    assert changed(before, page.evaluate(STATE)) == set()


@pytest.mark.parametrize("slider", ["#slice-axial", "#opacity"])
def test_a_finger_scrolls_from_a_slider_too(browser: Any, address: str, slider: str) -> None:
    assert swipe_up(opened(browser, address, "phone"), slider)


def test_the_wheel_scrolls_over_the_slice_browser(browser: Any, address: str) -> None:
    page = opened(browser, address, "desk")
    x, y = centre(page, "#view-coronal")
    at = page.evaluate("scrollY")
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=200)
    assert soon(page, f"scrollY > {at} + 100")


def test_a_tap_moves_the_cross(browser: Any, address: str) -> None:
    page = opened(browser, address, "phone")
    before = page.evaluate(STATE)
    slider = 'document.getElementById("slice-sagittal")'
    tap(page, centre(page, "#view-axial", 0.3, 0.3), f"{slider}.value != {before['sagittal']}")
    assert {"coronal", "sagittal", "picture"} <= changed(before, page.evaluate(STATE))
    assert page.evaluate(STATE)["axial"] == before["axial"]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_finger_moves_a_slider(browser: Any, address: str, plane: str) -> None:
    page = opened(browser, address, "phone")
    before = page.evaluate(STATE)
    value = f'document.getElementById("slice-{plane}").value'
    tap(page, centre(page, f"#slice-{plane}", 0.2), f"{value} < {before[plane]}")
    after = page.evaluate(STATE)
    assert {plane, "picture"} <= changed(before, after) <= {plane, "picture", "reading"}


def test_the_mouse_drags_the_cross(browser: Any, address: str) -> None:
    page = opened(browser, address, "desk")
    states = [page.evaluate(STATE)]
    for kind, place in (("mousePressed", 0.4), ("mouseMoved", 0.3), ("mouseReleased", 0.3)):
        x, y = centre(page, "#view-sagittal", place, place)
        buttons = 0 if kind == "mouseReleased" else 1
        page.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left",
            buttons=buttons,
            clickCount=1,
        )
        states.append(page.evaluate(STATE))
    assert {"axial", "coronal"} <= changed(states[1], states[2])
    assert changed(states[2], states[3]) == set()


def test_layer_and_opacity(browser: Any, address: str) -> None:
    page = opened(browser, address, "phone")
    before = page.evaluate(STATE)
    tap(page, centre(page, "#opacity", 0.1), 'document.getElementById("opacity").value < 30')
    faint = page.evaluate(STATE)
    assert changed(before, faint) == {"opacity", "picture"}
    spread = "[name=layer][value=spread]"
    tap(page, centre(page, spread), f"document.querySelector('{spread}').checked")
    assert {"reading", "picture"} <= changed(faint, page.evaluate(STATE))
    views = [f for f in page.evaluate(FIGURES) if f["name"].endswith("view")]
    assert len(views) == 3
    assert all(len(f["scales"]) == 1 and "0.5 SUVR" in f["scales"][0]["text"] for f in views)
