"""How long pages take to open in Chromium: the report of 10,000 samples, and the page of 500 runs.

    python -m benchmarks.pages [--samples 10000] [--runs 500] [--rounds 5] [--data data] [--tiny]

Both are made as analyze.py and a sweep make them, of a network with random weights and of runs with made-up results.
Shown is the time from the start of the navigation until the page can be used (the load event), in a new tab each time.
It needs selenium, and Chromium with its driver.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks._command_line import parser
from benchmarks._config import composed
from benchmarks._machine import print_machine
from benchmarks.analysis import load_network
from jacoscope.analysis.question import Question
from jacoscope.analysis.split import analyse, split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.comparison.page import sweep_page
from jacoscope.comparison.table import RunTable
from jacoscope.comparison.text import NORM
from jacoscope.runs.result import Result
from jacoscope.sweeps.directory import Job, SweepDirectory

GOAL = 1000  # milliseconds


def chromium() -> Any:
    """Start Chromium without a window.

    Raises:
        SystemExit: if it, its driver or selenium is missing.
    """
    names, driver = ("chromium", "google-chrome", "chrome"), shutil.which("chromedriver")
    binary = next(filter(None, map(shutil.which, names)), None)
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    if not (webdriver and binary and driver):
        raise SystemExit("this benchmark needs Chromium, chromedriver and selenium (pip install selenium)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def report(folder: Path, samples: int, data_dir: str) -> Path:
    """Write the report of a network with random weights."""
    with composed("analyze", f"paths.output_dir={folder}", f"paths.data_dir={data_dir}") as cfg:
        network = load_network(cfg, None, folder)
        question = Question(limit=samples, attack=0, output_dir=str(folder / "analysis"))
        answer = split_folder(question, network.spec)
        analyse(answer, question, network, Devices("cpu"), Console(quiet=True))
    return answer.file("report.html")


def page_of_runs(folder: Path, runs: int) -> Path:
    """Write the page of runs with made-up results."""
    sweep = SweepDirectory(folder, ["optimizer.lr=…", "model.width=…"])
    for number in range(runs):
        sweep.jobs.append(Job(number, (f"optimizer.lr={number + 1}", f"model.width={number % 7}")))
        metrics = {"val/accuracy": number / runs, "test/accuracy": number / runs, NORM: 1.0 + number}
        config = {"objective": "val/accuracy"}
        result = Result("finished", config, 0, "2026-01-01T00:00:00+00:00", metrics, wall_seconds=60.0)
        result.write(folder / str(number) / "result.json")
    sweep.write()
    page = folder / "sweep.html"
    page.write_text(sweep_page(RunTable.read(folder), folder))
    return page


def milliseconds(browser: Any, page: Path) -> float:
    """Open a page in a new tab; return the time until its load event ended."""
    browser.switch_to.new_window("tab")
    browser.get(page.as_uri())
    time: float = browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    browser.close()
    browser.switch_to.window(browser.window_handles[0])
    return time


def main(words: Sequence[str] | None = None) -> None:
    """Open the pages in turns."""
    command_line = parser(__doc__, rounds=5, data=True)
    command_line.add_argument("--samples", type=int, default=10_000, help="of the report")
    command_line.add_argument("--runs", type=int, default=500, help="of the page of runs")
    given = command_line.parse_args(words)
    if given.tiny:
        given.samples, given.runs, given.rounds = 20, 5, 1
    print_machine()
    with TemporaryDirectory() as name:
        folder = Path(name)
        browser = chromium()
        try:
            pages = {
                f"report of {given.samples:,} samples": report(folder, given.samples, given.data),
                f"page of {given.runs:,} runs": page_of_runs(folder / "sweep", given.runs),
            }
            times: dict[str, list[float]] = {title: [] for title in pages}
            for _ in range(given.rounds):
                for title, page in pages.items():
                    times[title].append(milliseconds(browser, page))
        finally:
            browser.quit()
    print(f"{given.rounds} rounds in turns; median (least to largest), in milliseconds; goal {GOAL:,}")
    for title, found in times.items():
        print(f"{title:<28} {median(found):6.0f} ({min(found):.0f} to {max(found):.0f})")


if __name__ == "__main__":
    main()
