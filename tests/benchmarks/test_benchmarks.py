"""Every benchmark runs in its tiny form and prints its tables. No time is judged.

Those that start processes run as a user runs them, `python -m benchmarks NAME … --tiny`, beside the others, which run
in this process.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

Sections = Callable[[], dict[str, list[str]]]


@pytest.fixture(scope="module", autouse=True)
def sections() -> Iterator[Sections]:
    """What the benchmarks print that run as processes: lines by name, when they have ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "sweep", "jacobian", "matrix_free", "--tiny"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    @cache
    def read() -> dict[str, list[str]]:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, out + err
        found: dict[str, list[str]] = {}
        for line in out.splitlines():
            if line.startswith("── "):
                found[line.split()[1]] = []
            elif found:
                list(found.values())[-1].append(line)
        return found

    yield read
    process.kill()


def printed(name: str, capsys: pytest.CaptureFixture[str], data_dir: Path) -> list[str]:
    """Run the tiny form of a benchmark in this process; return the lines."""
    sys.path.insert(0, str(ROOT))  # the folder is no part of the installed package
    try:
        importlib.import_module(f"benchmarks.{name}").main(["--tiny", "--data", str(data_dir)])
    finally:
        sys.path.remove(str(ROOT))
    return capsys.readouterr().out.splitlines()


def assert_names_the_machine(line: str) -> None:
    assert line.startswith("processor ")
    assert f" · capability {torch.backends.cpu.get_cpu_capability()} · threads 1 · torch {torch.__version__}" in line


def rows(lines: list[str]) -> dict[str, list[str]]:
    """The rows of all tables with lines around them, by their first cell."""
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    return {first: others for first, *others in cells}


def test_training(capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    lines = printed("training", capsys, data_dir)
    assert_names_the_machine(lines[0])
    from benchmarks.training import STEPS  # `printed` has imported it

    table = rows(lines)
    for first in ("plain step", "bare loop, images in memory"):
        assert table[first][-1] == "1.00"
    for way in (*STEPS, "jacoscope (Lightning)"):
        assert float(table[way][-1]) > 0


def test_callback(capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    lines = printed("callback", capsys, data_dir)
    assert_names_the_machine(lines[0])
    table = rows(lines)
    times = {part: cells[-2] for part, cells in table.items() if len(cells) == 4}
    assert times["check of two samples, once"] == times["page and layout, once"] == "1"
    assert times["numbers of validation samples"] == times["numbers of training samples"] == "13"
    assert times["histograms"] == times["drawing of pictures"] == "4"
    assert all(float(table[f"with {kind}"][-2]) > 0 for kind in ("numbers", "pictures"))
    assert sum("a default run, 13 epochs, 4 with pictures" in line for line in lines) == 2


def test_analysis(capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    machine, _, *lines = printed("analysis", capsys, data_dir)
    assert_names_the_machine(machine)
    assert [line.split("  ")[0] for line in lines] == ["Jacobians alone", "analysis", "ratio", "peak memory"]


def test_sweep(sections: Sections) -> None:
    machine, _, *lines = sections()["sweep"]
    assert_names_the_machine(machine)
    assert lines[0].startswith("side by side: ")
    assert lines[1].startswith("one process, one after the other, one core each: ")


def test_jacobian(sections: Sections) -> None:
    lines = sections()["jacobian"]
    assert_names_the_machine(lines[0])
    table = rows(lines)
    for way in ("jacoscope", "jacoscope, vmap-jacrev", "jacoscope, check=False", "vmap(jacrev)", "is_grads_batched"):
        assert float(table[way][0]) > 0
    for peer, module in (("Captum Saliency", "captum"), ("JAX jit(vmap(jacrev))", "jax")):
        if importlib.util.find_spec(module):
            assert float(table[peer][0]) > 0
        else:
            assert table[peer] == ["", "", "not installed"]
    record, plot = (Path(line.removeprefix("written: ")) for line in lines if line.startswith("written: "))
    measured = json.loads(record.read_text())
    assert measured["capability"] == torch.backends.cpu.get_cpu_capability()
    kinds = {(row["model"], row["batch"]) for row in measured["rows"]}
    assert kinds == {(model, batch) for model in ("lenet5", "mlp") for batch in (1, 2)}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_matrix_free(sections: Sections) -> None:
    machine, _, _, *lines = sections()["matrix_free"]
    assert_names_the_machine(machine)
    assert [line.split()[0] for line in lines if line] == 4 * ["resnet18"]
    assert "standard errors); σ off by" in lines[3]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "trainng"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there are analysis, callback, jacobian, matrix_free, pages, sweep, training" in done.stderr


@pytest.mark.usefixtures("browser")  # skipped where there is none
def test_pages(capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    lines = printed("pages", capsys, data_dir)
    assert_names_the_machine(lines[0])
    for line, title in zip(lines[-2:], ("report of 20 samples", "page of 5 runs"), strict=True):
        assert line.startswith(title)
        assert float(line.removeprefix(title).split()[0]) > 0
