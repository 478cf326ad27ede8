"""The page in a browser: every control by mouse and by keyboard, and what is shown against the networks' Jacobians."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from jacoscope import board

from .logs import IMAGES, LABELS, NAMES, SIDE, exact, log, network, tensorboard

WAIT = 15  # seconds, at most


def selector(name: str) -> str:
    return name if re.search("[ .#]", name) else f"#{name}"


class Tab:
    """The tab in a browser."""

    def __init__(self, browser: Any, downloads: Path) -> None:
        self.browser, self.downloads = browser, downloads

    def open(self, address: str, state: str = "", query: str = "") -> "Tab":
        self.browser.switch_to.default_content()
        self.browser.get("about:blank")
        self.browser.get(f"{address}/{query}#jacobians{state}")
        self.wait(lambda: self.browser.find_elements("css selector", "iframe[src*='name=jacobians']"))
        self.browser.switch_to.frame(self.browser.find_element("css selector", "iframe[src*='name=jacobians']"))
        self.wait(
            lambda: self.script(
                "return ['shown', 'empty', 'problem'].some(id => document.getElementById(id)?.offsetHeight)"
            )
        )
        self.settle()
        return self

    def script(self, code: str, *arguments: Any) -> Any:
        return self.browser.execute_script(code, *arguments)

    def settle(self) -> None:
        """Wait until what was chosen is drawn."""
        time.sleep(0.05)
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def wait(self, holds: Callable[[], Any], message: str = "") -> None:
        end = time.monotonic() + WAIT
        while not holds():
            assert time.monotonic() < end, message or self.text("tab")
            time.sleep(0.05)

    def find(self, name: str) -> Any:
        return self.browser.find_element("css selector", selector(name))

    def text(self, name: str) -> str:
        return "".join(element.text for element in self.browser.find_elements("css selector", selector(name)))

    def choose(self, name: str, value: str) -> None:
        """Choose an option as a user does, by its text."""
        options = self.find(name).find_elements("tag name", "option")
        next(option for option in options if option.text == value).click()
        self.settle()

    def press(self, name: str, *keys: str) -> None:
        element = self.find(name)
        self.script("arguments[0].focus()", element)
        for key in keys:
            element.send_keys(key)
        self.settle()

    def address(self) -> str:
        self.browser.switch_to.default_content()
        found: str = self.browser.current_url
        self.browser.switch_to.frame(self.browser.find_element("css selector", "iframe[src*='name=jacobians']"))
        return found

    def pixel(self) -> int:
        row, column = map(int, re.findall(r"(?:Row|column) (\d+)", self.text("where")))
        return row * SIDE + column

    def shown_class(self) -> int:
        return int(self.find("#classes [aria-pressed='true']").get_attribute("data-class"))

    def row(self, column: int = -1) -> list[float]:
        """The numbers of the row of J that are shown."""
        rows = self.browser.find_elements("css selector", "#bars tr")
        return [float(row.find_elements("tag name", "td")[column].text.replace("−", "-")) for row in rows]

    def pixels(self, canvas: str) -> np.ndarray:
        """The colours of a canvas, ``[SIDE, SIDE, 3]``."""
        code = "const c = arguments[0]; return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        return np.array(self.script(code, self.find(canvas))).reshape(SIDE, SIDE, 4)[..., :3]

    def downloaded(self, ending: str) -> Path:
        self.wait(lambda: list(self.downloads.glob(f"*{ending}")), f"no {ending} came")
        return next(self.downloads.glob(f"*{ending}"))


@pytest.fixture(scope="module")
def tab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    downloads, driver = tmp_path_factory.mktemp("downloads"), browser.driver
    size = driver.get_window_size()
    driver.set_window_size(1400, 1500)
    driver.get_log("browser")  # what was said about pages of other tests
    driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    yield Tab(driver, downloads)
    driver.switch_to.default_content()
    driver.get("about:blank")
    driver.set_window_size(size["width"], size["height"])


@pytest.fixture
def shown(tab: Tab, served: str) -> Iterator[Tab]:
    """The tab, as it is opened at first; no error may be in the browser's log in the end."""
    yield tab.open(served)
    assert [entry for entry in tab.browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def expected_row(seed: int, step: int, sample: int, pixel: int, output: str = "logits") -> Any:
    return pytest.approx(exact(seed, step, output)[sample].flatten(1)[:, pixel].tolist(), rel=0.006, abs=1e-4)


def test_at_first_it_shows_the_newest_run_at_its_end_and_the_strongest_pixel(shown: Tab) -> None:
    assert shown.find("run").get_property("value") == "first"
    assert shown.text("when") == "step 25  (6 of 6)"
    # Samples are in the order of their indices, 3, 5 and 70; sample 3 is the last image, and has no class.
    sample, own = 2, int(network(1, 25)(IMAGES.double())[2].argmax())
    strongest = int(exact(1, 25)[sample, own].abs().argmax())
    assert f"Row {strongest // SIDE}, column {strongest % SIDE}, " in shown.text("where")
    assert shown.row() == expected_row(1, 25, sample, strongest)


def test_pixels_are_pointed_at_by_mouse_touch_and_keyboard(shown: Tab) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    for canvas, kind in (("#pane-image canvas", "mouse"), ("#pane-first canvas", "touch")):
        element = shown.find(canvas)
        unit = element.size["width"] / SIDE
        for row, column in ((0, 0), (5, 2), (7, 7)):
            actions = ActionChains(shown.browser, devices=[PointerInput(kind, kind)])
            place = int((column - SIDE / 2 + 0.5) * unit), int((row - SIDE / 2 + 0.5) * unit)
            actions.move_to_element_with_offset(element, *place).click().perform()
            shown.settle()
            assert shown.text("where").startswith(f"Row {row}, column {column}, brightness")
            assert shown.row() == expected_row(1, 25, 2, row * SIDE + column)
    brightness = float(shown.text("where").split()[-1])
    assert brightness == pytest.approx(float(IMAGES[2, 0, 7, 7]), abs=0.01)
    left, up, right, down = "\ue012", "\ue013", "\ue014", "\ue015"
    shown.press("#pane-first canvas", left, up, up, right, right, down)
    assert shown.text("where").startswith("Row 6, column 7,")
    assert shown.row() == expected_row(1, 25, 2, 6 * SIDE + 7)
    assert "Arrow keys" in shown.find("#pane-first canvas").get_attribute("aria-label")


def test_the_slider_moves_everything_by_keyboard_by_play_and_by_the_charts(shown: Tab) -> None:
    left, home = "\ue012", "\ue011"
    shown.press("step", left, left)
    assert shown.text("when") == "step 15  (4 of 6)"
    shown.wait(lambda: "step=15" in shown.address())
    assert shown.row() == expected_row(1, 15, 2, shown.pixel())
    assert "4 of 6" in shown.find("step").get_attribute("aria-valuetext")
    shown.press("step", home)
    assert shown.text("when") == "step 0  (1 of 6)"
    shown.press("play", " ")
    assert shown.find("play").get_attribute("aria-label") == "Pause"
    shown.wait(lambda: shown.text("when") == "step 25  (6 of 6)", "it did not play to the end")
    shown.wait(lambda: shown.find("play").get_attribute("aria-label") == "Play")
    shown.find("#pixel-chart svg").click()  # its middle
    shown.settle()
    assert "of 6" in shown.text("when")
    assert shown.text("when")[:7] in ("step 10", "step 15")
    step = int(re.findall(r"step (\d+)", shown.text("when"))[0])
    predicted = int(network(1, step)(IMAGES.double())[2].argmax())
    assert shown.text("#charts .predictions .now") == NAMES[predicted]


def test_classes_outputs_and_samples_are_chosen(shown: Tab) -> None:
    shown.find("#classes button:nth-child(3)").click()
    shown.settle()
    assert shown.text("#pane-first .title") == f"Map of class {NAMES[2]}"  # its markup is shown as text
    assert shown.script("return document.querySelectorAll('#tab b').length") == 0
    shown.press("#classes button:nth-child(2)", " ")
    assert shown.text("#pane-first .title") == f"Map of class {NAMES[1]}"
    shown.find("next").click()
    shown.wait(lambda: shown.text("#pane-image .title") == "Sample 5")
    assert shown.text("#pane-first .title") == f"Map of class {NAMES[LABELS[0]]}"
    shown.choose("output", "probs")
    shown.wait(lambda: "probability" in shown.text("headings"))
    shown.press("previous", "\ue007")
    shown.wait(lambda: shown.text("#pane-image .title") == "Sample 3")
    shown.choose("sample", f"70 (class {NAMES[2]})")
    shown.wait(lambda: shown.text("#pane-image .title") == "Sample 70")
    shown.press("#pane-image canvas", "\ue013")
    expected = exact(1, 25, "probs")[1].flatten(1)[:, shown.pixel()].tolist()
    assert shown.row() == pytest.approx(expected, rel=0.006, abs=1e-6)


def test_the_colours_are_those_of_the_scale_that_is_chosen(shown: Tab) -> None:
    from jacoscope.visuals.colors import diverging_table

    shown.press("step", "\ue011")
    all_steps = [exact(1, step)[2] for step in range(0, 30, 5)]
    for choice, source in (("of this step", all_steps[:1]), ("of all steps", all_steps)):
        shown.choose("range", choice)
        values = np.stack([np.asarray(each) for each in source])
        limit = np.quantile(np.abs(values), 0.998)
        own = shown.shown_class()
        places = np.clip(exact(1, 0)[2, own].numpy() / limit, -1, 1)
        expected = diverging_table()[np.rint((places + 1) / 2 * 512).astype(int)]
        assert np.abs(shown.pixels("#pane-first canvas") - expected).max() <= 2
    shown.choose("spacing", "logarithmic")
    assert shown.text("ticks").count("0") >= 1
    assert "+" in shown.text("ticks")


def test_two_runs_stand_side_by_side_at_the_nearest_step(shown: Tab) -> None:
    shown.choose("other", "second")
    shown.wait(lambda: shown.find("pane-difference").is_displayed())
    assert shown.text("when") == "step 25 | 23  (6 of 6)"
    step = int(re.findall(r"\| (\d+)", shown.text("when"))[0])
    assert shown.row(2) == expected_row(1, 25, 2, shown.pixel())
    assert shown.row(4) == expected_row(2, step, 2, shown.pixel())
    own = shown.shown_class()
    difference = (exact(2, step) - exact(1, 25))[2, own].abs().max()
    told = float(shown.text("#pane-difference figcaption:last-child").split()[-1])
    assert told == pytest.approx(float(difference), rel=0.006)
    canvases = ("#pane-first canvas", "#pane-second canvas")
    before = [shown.pixels(canvas) for canvas in canvases]
    shown.find("shared").click()
    shown.settle()
    after = [shown.pixels(canvas) for canvas in canvases]  # that with the larger maps has the scale of both already
    assert sorted(bool((old != new).any()) for old, new in zip(before, after, strict=True)) == [False, True]
    shown.choose("other", "no other run")
    shown.wait(lambda: not shown.find("pane-difference").is_displayed())


def test_a_link_shows_the_same_again_and_can_be_copied(shown: Tab, served: str) -> None:
    shown.choose("output", "probs")
    shown.press("step", "\ue012")
    shown.find("#classes button:nth-child(4)").click()
    shown.press("#pane-image canvas", "\ue013")
    shown.wait(lambda: all(part in shown.address() for part in ("output=probs", "step=20", "class=3", "pixel=")))
    where, row, when, link = shown.text("where"), shown.row(), shown.text("when"), shown.address()
    again = shown.open(served, link.partition("#jacobians")[2])
    assert (again.text("where"), again.row(), again.text("when")) == (where, row, when)
    again.find("link").click()
    again.wait(lambda: again.text("link") in ("Copied", "See address bar"))


def test_pictures_and_matrices_are_saved_from_within_the_frame(shown: Tab) -> None:
    from PIL import Image

    shown.find("npy").click()
    matrix = np.load(shown.downloaded(".npy"), allow_pickle=False)
    expected = exact(1, 25)[2].flatten(1).T.numpy()
    assert np.abs(matrix - expected).max() <= 1e-4 * np.abs(expected).max()
    shown.find("csv").click()
    assert shown.downloaded(".csv").read_text().startswith("row,column,round")
    shown.find("png").click()
    with Image.open(shown.downloaded(".png")) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_dark_mode_follows_tensorboards(tab: Tab, served: str) -> None:
    tab.open(served, query="?darkMode=true")
    background = "return getComputedStyle(document.body).backgroundColor"
    assert tab.script(background) == "rgb(20, 23, 28)"
    tab.script("parent.document.body.classList.remove('dark-mode')")
    tab.wait(lambda: tab.script(background) == "rgb(252, 252, 250)")


def test_at_800_pixels_nothing_is_cut_off_and_every_control_has_a_name(shown: Tab) -> None:
    shown.browser.set_window_size(800, 1200)
    shown.choose("other", "second")
    shown.settle()
    assert shown.script("return document.documentElement.scrollWidth <= innerWidth")
    unnamed = shown.script(
        "return [...document.querySelectorAll('#tab button, #tab select, #tab input, #tab canvas[tabindex], #tab a')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).length"
    )
    assert unnamed == 0
    shown.browser.set_window_size(1400, 1500)


def test_many_fast_moves_of_the_slider_end_at_the_last(shown: Tab) -> None:
    shown.choose("other", "second")
    move = """const slider = document.getElementById("step");
        for (const step of arguments[0]) { slider.value = step; slider.dispatchEvent(new Event("input")); }"""
    shown.script(move, [2])
    shown.settle()
    panes = [f"#pane-{name} canvas" for name in ("first", "second", "difference")]
    told, pictures = shown.text("when"), {name: shown.pixels(name) for name in panes}
    shown.script(move, [count % 6 for count in range(60)] + [2])
    shown.settle()
    assert shown.text("when") == told
    assert all(np.array_equal(shown.pixels(name), picture) for name, picture in pictures.items())


def test_without_data_it_says_how_to_get_them_and_new_steps_appear_by_themselves(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with tensorboard(tmp_path / "logs", tmp_path) as address:
        tab.browser.get(f"{address}/data/plugin_entry.html?name=jacobians")
        tab.wait(lambda: "board.write(" in tab.text("empty"), "no explanation")
        log(tmp_path / "logs" / "new", 1, range(2))
        tab.wait(lambda: tab.find("tab").is_displayed() and "2 of 2" in tab.text("when"), "no new run")
        log(tmp_path / "logs" / "new", 1, range(2, 5))
        tab.wait(lambda: "step 4  (5 of 5)" in tab.text("when"), "no new steps")


def test_what_is_not_a_number_and_what_is_infinite_are_told_apart(tab: Tab, tmp_path: Path) -> None:
    """One sample of which no input moves any output, and one of a network that has become NaN."""
    J, logits = torch.zeros(2, 3, 1, 4, 4), torch.tensor([[2.0, 1.0, 0.0], [torch.nan] * 3])
    J[1] = torch.nan
    with SummaryWriter(str(tmp_path / "logs" / "run")) as writer:
        board.write(writer, 0, torch.rand(2, 1, 4, 4), J, logits, class_names=["a", "b", "c"])
    with tensorboard(tmp_path / "logs", tmp_path) as address:
        tab.browser.get(f"{address}/data/plugin_entry.html?name=jacobians#p.jacobians.tag=jacobians/0")
        tab.wait(lambda: "∞" in tab.text("charts"), "no infinite distance")
        assert "not finite" not in tab.text("charts")
        tab.press("next", " ")
        tab.wait(lambda: "Prediction\nnone" in tab.text("charts"), "a prediction from NaN")
        assert "∞" not in tab.text("charts")
        assert "not finite" in tab.text("charts")
        assert "undefined" not in tab.text("tab") + tab.script("return document.body.innerHTML")
