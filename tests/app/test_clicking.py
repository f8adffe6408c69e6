"""The page of shapes in a real browser: points, names, pairs and edges, and what the file then holds."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browsing import Visitor, needed, watched
from browsing import browser as started
from conftest import photo
from selenium.webdriver import ActionChains, Chrome, Keys

from brule.app import clicking
from brule.app.sheet import Sheet, opened
from brule.data.landmarks import read_shapes

pytestmark = needed
FACE = {"left eye": (60, 40), "right eye": (140, 42), "nose": (100, 80), "l": (70, 110), "r": (130, 112)}


class Clicker(Visitor):
    """What a person does on the page of shapes."""

    def click(self, x: float, y: float) -> None:
        """On this pixel of the photo."""
        ActionChains(self.browser, 0).move_to_element_with_offset(self.one("#view"), *self.at(x, y)).click().perform()

    def drag(self, x: float, y: float, to: tuple[float, float]) -> None:
        view, pointer = self.one("#view"), ActionChains(self.browser, 0)
        pointer.move_to_element_with_offset(view, *self.at(x, y)).click_and_hold()
        pointer.move_to_element_with_offset(view, *self.at(*to)).release().perform()

    def at(self, x: float, y: float) -> list[int]:
        script = """
            const view = document.querySelector("#view"), place = new DOMPoint(arguments[0] + 0.5, arguments[1] + 0.5);
            const {x, y} = place.matrixTransform(view.getScreenCTM()), box = view.getBoundingClientRect();
            return [x - box.x - box.width / 2, y - box.y - box.height / 2]"""
        return [round(value) for value in self.browser.execute_script(script, x, y)]

    def type(self, *keys: str) -> None:
        ActionChains(self.browser, 0).send_keys(*keys).perform()

    def across(self) -> float:
        """How many pixels of the photo the view spans, across."""
        return float(self.browser.execute_script("return document.querySelector('#view').viewBox.baseVal.width"))

    def undo(self) -> None:
        ActionChains(self.browser, 0).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with started(tmp_path_factory.mktemp("chromium"), tmp_path_factory.mktemp("downloads")) as running:
        yield running


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    sizes = {"a.png": (200, 150), "b.png": (240, 160), "c.png": (150, 200)}
    return Sheet(tmp_path / "shapes.json", [opened(photo(tmp_path / name, size), name) for name, size in sizes.items()])


@pytest.fixture
def visitor(browser: Chrome, served: Callable[..., Any], sheet: Sheet) -> Iterator[Clicker]:
    address = served(clicking.application(sheet)).address
    with watched(browser, address, "no error is expected"):
        yield Clicker(browser, address, "#view image")


def kept(sheet: Sheet, photo: int, point: int, place: tuple[float, float], within: float = 1.0) -> bool:
    """Whether the file has this point near this place."""
    points = sheet.told()["shapes"][photo]
    return bool(points and points[point] and np.allclose(points[point], place, atol=within))


def named(visitor: Clicker) -> None:
    """Click the face on the first photo, with its names."""
    for number, (name, place) in enumerate(FACE.items(), start=1):
        visitor.click(*place)
        visitor.until(lambda number=number: len(visitor.all("#points li")) == number)
        visitor.type(name)


def test_points_names_a_pair_and_an_edge_on_two_pictures(visitor: Clicker, sheet: Sheet) -> None:
    named(visitor)
    visitor.type(Keys.ENTER, "e")
    for name in ("left eye", "nose"):
        visitor.click(*FACE[name])
    visitor.shows("#status", "left eye and nose are joined")
    visitor.type("m")
    for name in ("l", "r"):
        visitor.click(*FACE[name])
    visitor.shows("#status", "l and r are a pair")
    visitor.type("p", "n")
    visitor.shows("#status", "Now click: left eye (1 of 5)")
    for name, (x, y) in FACE.items():
        visitor.shows("#status", f"Now click: {name}")
        visitor.click(x + 20, y + 5)
    visitor.shows("#kept", "2 shapes of 5 points.")
    read = read_shapes(sheet.out)
    assert read.scheme and read.scheme.names == tuple(FACE)
    assert read.scheme.flip == (1, 0, 2, 4, 3), "left and right have found each other, l and r were marked"
    assert (
        read.scheme.edges == ((0, 2),) and read.images == ("a.png", "b.png") and read.sizes == ((200, 150), (240, 160))
    )
    face = np.array(list(FACE.values()))
    np.testing.assert_allclose(read.points, [face, face + np.array([20, 5])], atol=0.5)


def test_a_reload_loses_nothing_and_undo_drag_and_delete_do_what_they_say(visitor: Clicker, sheet: Sheet) -> None:
    named(visitor)
    visitor.type(Keys.ENTER, "n")
    visitor.click(80, 45)
    visitor.click(160, 47)
    visitor.shows("#kept", "1 shape of 5 points; 1 picture half done.")
    visitor.browser.refresh()
    visitor.until(lambda: visitor.all("#view .want"))
    visitor.shows("#status", "Now click: nose (3 of 5)")
    ghost = [float(visitor.one("#view .want").get_attribute(key) or 0) - 0.5 for key in ("cx", "cy")]
    assert ghost == pytest.approx((120, 85), abs=1.5), (
        "the face of the first picture, moved to the points that are there"
    )
    visitor.drag(80, 45, (90, 60))
    visitor.until(lambda: kept(sheet, 1, 0, (90, 60)))
    visitor.undo()
    visitor.until(lambda: kept(sheet, 1, 0, (80, 45)))
    visitor.click(160, 47)
    visitor.type(Keys.DELETE)
    visitor.until(lambda: sheet.told()["shapes"][1][1] is None)
    visitor.all("#points .away")[0].click()
    visitor.until(lambda: len(visitor.all("#points li")) == 4)
    visitor.until(lambda: sheet.told()["names"] == list(FACE)[1:] and sheet.told()["pairs"] == [])
    visitor.undo()
    visitor.until(lambda: sheet.told()["names"] == list(FACE) and sheet.told()["pairs"])


def test_names_keep_apart_and_pairs_follow_them(visitor: Clicker, sheet: Sheet) -> None:
    visitor.click(30, 30)
    visitor.type("left ear")
    visitor.click(90, 30)
    visitor.type("left ear")
    visitor.shows("#fault", "Point 1 is called left ear already; choose another name.")
    visitor.type(Keys.ENTER)
    visitor.until(lambda: sheet.told()["names"] == ["left ear", "left ea"])
    name = visitor.all("#points input")[1]
    name.send_keys(Keys.CONTROL + "a", Keys.NULL + "Right ear", Keys.ENTER)
    visitor.until(lambda: sheet.told()["pairs"] == [[0, 1]])
    assert visitor.all("#points .mate")[0].text == "⇄ 2"
    name.send_keys(Keys.CONTROL + "a", Keys.NULL + "ring", Keys.ENTER)
    visitor.until(lambda: sheet.told()["pairs"] == [])


def test_it_works_by_keys_alone_and_zoomed(visitor: Clicker, sheet: Sheet) -> None:
    visitor.browser.execute_script("document.querySelector('#view').focus()")
    visitor.type(Keys.ENTER, Keys.ENTER)
    visitor.until(lambda: kept(sheet, 0, 0, (99.5, 74.5), 0.6))
    visitor.type("+++", ".", *[Keys.ARROW_RIGHT] * 4)
    assert visitor.across() == pytest.approx(200 / 1.5**3, rel=1e-3)
    visitor.until(lambda: 99.6 < sheet.told()["shapes"][0][0][0] < 102)
    visitor.type("0", Keys.ESCAPE)
    visitor.click(20, 20)
    visitor.until(lambda: len(sheet.told()["names"]) == 2)
    visitor.type(Keys.ENTER, "N")
    visitor.shows("#where", "c.png")


def test_a_point_chosen_by_its_number_takes_the_keys_and_each_photo_is_a_step_for_undo(
    visitor: Clicker, sheet: Sheet
) -> None:
    named(visitor)
    visitor.type(Keys.ENTER, "n")
    visitor.shows("#where", "b.png")
    for name, place in FACE.items():
        visitor.shows("#status", f"Now click: {name}")
        visitor.click(*place)
    for shown in (0, 1):
        visitor.all("#photos button")[shown].click()
        visitor.all("#points .number")[0].click()
        visitor.type(*[Keys.ARROW_RIGHT] * 4)
        visitor.until(lambda shown=shown: sheet.told()["shapes"][shown][0][0] > 60.5)
    visitor.undo()
    visitor.until(lambda: kept(sheet, 1, 0, FACE["left eye"], 0.5))
    assert sheet.told()["shapes"][0][0][0] > 60.5, "the other photo's is another step"
    visitor.all("#photos button")[2].click()
    visitor.shows("#where", "c.png")
    for name, place in FACE.items():
        visitor.shows("#status", f"Now click: {name}")
        visitor.click(*place)
    visitor.all("#photos button")[0].click()
    visitor.all("#points .number")[2].click()
    visitor.type(Keys.DELETE)
    visitor.until(lambda: sheet.told()["shapes"][0][2] is None)
    visitor.all("#photos button")[1].click()
    visitor.shows("#where", "b.png")
    visitor.type("n")
    visitor.shows("#where", "a.png")  # c.png, which is whole, is passed over


def test_a_button_let_go_outside_moves_nothing(visitor: Clicker, sheet: Sheet) -> None:
    def mouse(kind: str, x: float, y: float, held: int = 0) -> None:
        words = {"type": kind, "x": x, "y": y, "button": "none" if kind == "mouseMoved" else "left", "buttons": held}
        visitor.browser.execute_cdp_cmd("Input.dispatchMouseEvent", {**words, "clickCount": 1})

    visitor.click(2, 75)
    visitor.until(lambda: kept(sheet, 0, 0, (2, 75)))
    box = visitor.browser.execute_script("return document.querySelector('#view').getBoundingClientRect().toJSON()")
    x, y = visitor.at(2, 75)
    x, y = x + box["x"] + box["width"] / 2, y + box["y"] + box["height"] / 2
    before = sheet.told()["shapes"][0]
    mouse("mousePressed", x, y, 1)
    mouse("mouseReleased", 2, 2)
    for step in range(5):
        mouse("mouseMoved", x + 30 * step, y)
    visitor.type(Keys.ESCAPE, "e", "p")
    visitor.shows("#kept", "Saved in")
    assert sheet.told()["shapes"][0] == before


def test_touch_sets_points_without_opening_the_keyboard(visitor: Clicker, sheet: Sheet) -> None:
    visitor.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    box = visitor.browser.execute_script("return document.querySelector('#view').getBoundingClientRect().toJSON()")
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": middle["x"] + x, "y": middle["y"] + y, "id": k} for k, (x, y) in enumerate(points)]
        visitor.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (0, 0))
    touch("touchEnd")
    visitor.until(lambda: kept(sheet, 0, 0, (99.5, 74.5)))
    assert visitor.browser.switch_to.active_element.tag_name == "svg"
    touch("touchStart", (-100, 60), (100, 60))
    touch("touchMove", (-150, 60), (150, 60))
    touch("touchMove", (-200, 60), (200, 60))
    touch("touchEnd")
    visitor.until(lambda: visitor.across() == pytest.approx(100, rel=0.02))
    assert len(sheet.told()["names"]) == 1
