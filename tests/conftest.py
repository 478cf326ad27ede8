"""What all tests share: one thread, no time limits of hypothesis's own, MNIST unpacked once, a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from jacoscope.data import MNIST, ImageSets

collect_ignore = ["callbacks/train_with.py"]  # a script, which a test runs

settings.register_profile("jacoscope", deadline=None, derandomize=True)
settings.load_profile("jacoscope")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_any_order() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with MNIST in it."""
    folder = tmp_path_factory.mktemp("data")
    MNIST(folder).prepare()
    return folder


@pytest.fixture(scope="session")
def mnist(data_dir: Path) -> ImageSets:
    return MNIST(data_dir).load()


class Browser:
    """A page in Chromium, as a reader uses it: it is looked at, clicked and typed into.

    Args:
        driver: of selenium.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1400) -> None:
        """Load a page from its file, in a window of some width; what was wrong before is forgotten."""
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())

    def run(self, script: str, *values: Any) -> Any:
        """Run JavaScript and return its result."""
        return self.driver.execute_script(script, *values)

    def wait(self, script: str) -> None:
        """Wait until an expression in JavaScript is true: a link within the page is followed after the click."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 60).until(lambda _: self.run(f"return {script}"), script)

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.driver.find_element("css selector", selector).text)

    def click(self, selector: str) -> None:
        """Click on an element, in the middle of the window."""
        found = self.driver.find_element("css selector", selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def type(self, selector: str, words: str) -> None:
        """Replace what is in a field."""
        field = self.driver.find_element("css selector", selector)
        field.clear()
        field.send_keys(words)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def click_point(self, chart: str, trace: int, point: int) -> None:
        """Click with the mouse on a point of a chart's trace."""
        from selenium.webdriver import ActionChains

        place = self.driver.find_element("css selector", f'[data-chart="{chart}"]')
        self.run("arguments[0].scrollIntoView({block: 'center'}); drawChart(arguments[0])", place)
        x, y = self.run(
            """const [place, number, i] = arguments, layout = place._fullLayout, trace = place._fullData[number];
            const [xa, ya] = [layout[trace.xaxis.replace("x", "xaxis")], layout[trace.yaxis.replace("y", "yaxis")]];
            const box = place.getBoundingClientRect(), bar = trace.type === "bar" ? 0.5 : 1;
            return [box.left + xa._offset + xa.d2p(trace.x[i]), box.top + ya._offset + ya.d2p(trace.y[i] * bar)]""",
            place,
            trace,
            point,
        )
        mouse = ActionChains(self.driver, duration=0)
        mouse.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        mouse.w3c_actions.pointer_action.pause(0.1)
        mouse.w3c_actions.pointer_action.click()
        mouse.perform()

    def complaints(self) -> list[str]:
        """Return what the browser logged since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, or a skipped test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    names, driver = ("chromium", "google-chrome", "chrome"), shutil.which("chromedriver")
    binary = next(filter(None, map(shutil.which, names)), None)
    if not binary or not driver:
        pytest.skip("no Chromium with a driver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chromium.set_script_timeout(120)  # the machine may be busy
    yield Browser(chromium)
    chromium.quit()
