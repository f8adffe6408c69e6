"""The page in a real browser: clicks, keys and uploads. Nothing is loaded from elsewhere, and no error goes unseen."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browsing import Visitor as Anybody
from browsing import browser as started
from browsing import needed, watched
from selenium.webdriver import ActionChains, Chrome, Keys

from brule.app import page as asked
from brule.detector import text as answers

pytestmark = needed


class Visitor(Anybody):
    """What a person does on the page of a detector."""

    def upload(self, path: Path) -> None:
        self.one("#file").send_keys(str(path))

    def points(self) -> list[list[float]]:
        """Where the dots are, in pixels of the photo."""
        places = (
            "[...document.querySelectorAll('#view .dot')].map((dot) => [dot.cx.baseVal.value, dot.cy.baseVal.value])"
        )
        return [[x - 0.5, y - 0.5] for x, y in self.browser.execute_script(f"return {places}")]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Chrome]:
    with started(tmp_path_factory.mktemp("chromium"), downloads) as running:
        yield running


@pytest.fixture
def visitor(browser: Chrome, site: Any) -> Iterator[Visitor]:
    """The page, freshly opened; some tests send something wrong."""
    with watched(browser, site.address, "the server responded with a status of 400"):
        yield Visitor(browser, site.address, "#samples button")


def test_a_click_on_a_sample_shows_its_landmarks_by_name(visitor: Visitor, page: asked.Page, models: Path) -> None:
    assert visitor.browser.title.startswith("A detector of 4 landmarks")
    visitor.all("#samples button")[0].click()
    visitor.shows("#status", "a.png, 120 × 90: 4 landmarks in")
    expected = page.detector.predict(models / "photos" / "a.png", refine=True)
    assert visitor.points() == pytest.approx(expected.points.round(3), abs=2e-3)
    assert len(visitor.all("#view .line:not(.halo)")) == 2
    names = [spot.get_attribute("aria-label") for spot in visitor.all("#view .spot")]
    assert names == [
        f"{name.replace('_', ' ')}, confidence {round(float(sure), 4):.2f}"
        for name, sure in zip(expected.names, expected.confidence, strict=True)
    ]
    assert visitor.all("#samples button")[0].get_attribute("aria-pressed") == "true"
    assert not visitor.one("#strange").is_displayed(), "this detector does not know what is strange"


def test_hover_and_arrow_keys_name_a_landmark(visitor: Visitor, page: asked.Page, models: Path) -> None:
    visitor.all("#samples button")[1].click()
    visitor.shows("#status", "b.jpg, 80 × 100")
    expected = page.detector.predict(models / "photos" / "b.jpg", refine=True)
    ActionChains(visitor.browser).move_to_element(visitor.all("#view .spot")[3]).perform()
    visitor.shows("#tip", f"mouth\nconfidence {round(float(expected.confidence[3]), 4):.2f}")
    visitor.shows("#detail", f"x {expected.points[3, 0]:.1f}, y {expected.points[3, 1]:.1f}")
    ActionChains(visitor.browser).move_to_element(visitor.one("h1")).perform()
    visitor.until(lambda: not visitor.one("#tip").is_displayed())
    visitor.browser.execute_script("document.querySelector('#view .spot').focus()")
    visitor.shows("#tip", "left eye")
    visitor.browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    visitor.shows("#tip", "mouth")
    visitor.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    visitor.shows("#tip", "nose <b>")


def test_an_upload_a_broken_one_and_a_box(visitor: Visitor, page: asked.Page, models: Path, tmp_path: Path) -> None:
    visitor.upload(models / "photos" / "b.jpg")
    visitor.shows("#status", "b.jpg, 80 × 100")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    visitor.upload(tmp_path / "broken.jpg")
    visitor.shows("#fault", "broken.jpg: is not a readable image")
    visitor.shows("#status", "Still showing b.jpg.")
    view = visitor.one("#view")
    drag = ActionChains(visitor.browser).move_to_element_with_offset(view, -80, -80).click_and_hold()
    drag.move_by_offset(60, 60).move_by_offset(100, 100).release().perform()
    visitor.until(lambda: visitor.one("#forget").is_displayed())
    assert not visitor.one("#fault").is_displayed()
    left, top, width, height = (
        float(visitor.one("#view .box").get_attribute(k) or 0) for k in ("x", "y", "width", "height")
    )
    assert width == pytest.approx(height, rel=0.02) and 10 < width < 80
    box = (left - 0.5, top - 0.5, width, height)
    twice = page.detector.predict(models / "photos" / "b.jpg", box, refine=True)
    assert visitor.points() == pytest.approx(twice.points, abs=0.05)
    visitor.one("#search").click()
    once = page.detector.predict(models / "photos" / "b.jpg", box, refine=False)
    visitor.until(lambda: visitor.points() == pytest.approx(once.points, abs=0.05))


def test_other_styles_and_the_files_to_save(visitor: Visitor, page: asked.Page, models: Path) -> None:
    visitor.all("#samples button")[0].click()
    visitor.until(lambda: len(visitor.all("#drawn li")) == 8)
    words = [tile.text for tile in visitor.all("#drawn li")]
    assert words[:3] == ["the photo", "redrawn in its style", "style 1"]

    def images() -> list[str]:
        script = "return [...document.querySelectorAll('#drawn image')].map((image) => image.getAttribute('href'))"
        return list(visitor.browser.execute_script(script))

    before = images()
    visitor.one("#other").click()
    visitor.until(lambda: images()[2:] != before[2:])
    after = images()
    assert after[:2] == before[:2] and len({*before, *after}) == 14


def test_the_files_are_what_the_command_writes(
    visitor: Visitor, page: asked.Page, models: Path, downloads: Path
) -> None:
    visitor.all("#samples button")[1].click()
    visitor.shows("#status", "b.jpg, 80 × 100")
    found = page.detector.predict(models / "photos" / "b.jpg", refine=True)
    texts = {"csv": answers.csv_text({Path("b.jpg"): found}), "pts": answers.pts_text(found)}
    texts["json"] = answers.json_text({Path("b.jpg"): found})
    for kind, text in texts.items():
        visitor.one(f"#{kind}").click()
        saved = downloads / f"b.{kind}"
        visitor.until(
            lambda saved=saved: saved.exists() and saved.stat().st_size
        )  # its name is taken before it is filled
        assert saved.read_text() == text
