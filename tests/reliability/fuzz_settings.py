"""Command lines of train.py and analyze.py, made up from the keys, types and groups of their own configs."""

import contextlib
import io
import logging
import os
import re
import runpy
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import strategies as st
from omegaconf import OmegaConf

from .tiny import OVERRIDES, write

ROOT = Path(__file__).parents[2]
TINY = (
    *OVERRIDES,
    "data.val_size=20",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "callbacks.jacobian.max_samples=4",
    "callbacks.jacobian.train_samples=2",
    "callbacks.jacobian.images_every_n_epochs=0",
)
NOT_TRIED = (
    *("hydra", "paths", "run_name", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "extend"),
    *("checkpoint", "compare", "output_dir"),
)
"""Keys that start more processes, lead to other folders, or are tried elsewhere."""
NOT_CHOSEN = ("hparams_search", "experiment", "debug")
"""Groups that choose data and length themselves."""
OFFLINE = {
    "data": ("mnist", "fashion_mnist"),
    "logger": ("tensorboard", "csv", "none", "tensorboard_csv"),
    "trainer": ("default", "cpu"),
    "callbacks": ("default", "no_jacobian", "every_epoch", "[default,ema]", "[default,early_stopping]"),
}
"""Choices that need no network and one process; of the other groups, all are tried."""
SECONDS = 120
"""A command that takes more processor time hangs."""

NUMBERS = (0, -1, 1, 2, 3, 7, 0.0, 0.5, 1.0, 1.5, -0.5, 1e-8, 1e30, 10**20, 2**31, "nan", "inf", "-inf", "1e400")
OTHERS = (
    "null",
    "true",
    "false",
    "abc",
    "''",
    "[]",
    "[1]",
    "[0,1]",
    "[1,2,3]",
    "[a,b]",
    "{a:1}",
    "{}",
    "[null]",
    "[[1]]",
)


QUICK = ("limit=4", "attack=1")
"""What keeps an analysis short."""


@dataclass
class Outcome:
    """How a command line ended: ``done``, ``refused`` with a message, or ``broken``."""

    kind: str
    told: str


@cache
def leaves(script: str, choice: str = "") -> dict[str, Any]:
    """Return the keys of the composed config with their values, with one group chosen otherwise."""
    GlobalHydra.instance().clear()
    OmegaConf.register_resolver("folder_of", lambda name: str(name), replace=True)
    with initialize_config_dir(str(ROOT / "configs")):
        config: Any = OmegaConf.to_container(compose(script, [choice] if choice else []), resolve=False)

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            yield f"{prefix}{key}", value

    return {key: value for key, value in walk(config, "") if not key.startswith(NOT_TRIED)}


def groups(script: str) -> dict[str, tuple[str, ...]]:
    """Return the groups of a script and their choices."""
    defaults = OmegaConf.load(ROOT / "configs" / f"{script}.yaml").defaults
    named = [name.removeprefix("optional ") for item in defaults if not isinstance(item, str) for name in item]
    folders = [ROOT / "configs" / name for name in named if name not in ("hydra", "paths", *NOT_CHOSEN)]
    choices = {folder.name: tuple(sorted(file.stem for file in folder.glob("*.yaml"))) for folder in folders}
    return {name: OFFLINE.get(name, found) for name, found in choices.items()}


def words(script: str) -> st.SearchStrategy[list[str]]:
    """Return a strategy of command lines: often the choice of a group, then one to three words of what it has."""
    choices = groups(script)
    openings = [f"{group}={name}" for group, names in choices.items() for name in names]
    opening = st.one_of(st.just(""), st.sampled_from(openings))
    return opening.flatmap(lambda choice: _words_after(script, choice, choices))


def _words_after(script: str, chosen: str, choices: dict[str, tuple[str, ...]]) -> st.SearchStrategy[list[str]]:
    keys = leaves(script, chosen)

    def values(key: str) -> st.SearchStrategy[str]:
        value = keys[key]
        kinds = [st.sampled_from(NUMBERS).map(str), st.sampled_from(OTHERS)]
        if isinstance(value, bool):
            kinds.append(st.booleans().map(str))
        elif isinstance(value, int):
            kinds.append(st.integers(-2, 2 * abs(value) + 2).map(str))
        elif isinstance(value, float):
            kinds.append(st.floats(0, 2 * abs(value) + 1e-3).map(str))
        elif isinstance(value, list) and all(isinstance(item, int) for item in value):
            kinds.append(
                st.lists(st.integers(1, 40), min_size=1, max_size=4).map(lambda v: f"[{','.join(map(str, v))}]")
            )
        return st.one_of(kinds)

    key = st.sampled_from([*keys])
    setting = key.flatmap(lambda k: values(k).map(lambda v: f"{k}={v}"))
    choice = st.sampled_from([*choices]).flatmap(
        lambda g: st.sampled_from((*choices[g], "nothing")).map(lambda c: f"{g}={c}")
    )
    odd = st.one_of(
        key.map(lambda k: f"~{k}"),
        key.map(lambda k: f"{k}x=1"),
        key.flatmap(lambda k: values(k).map(lambda v: f"+{k}.more={v}")),
        key.flatmap(lambda k: values(k).map(lambda v: f"++{k}={v}")),
    )
    word = st.one_of(setting, setting, setting, choice, odd)
    line = st.lists(word, min_size=1, max_size=3, unique_by=lambda w: re.split("=", w.lstrip("+~"))[0])
    group = chosen.partition("=")[0]
    return line.map(lambda ws: [*([chosen] if chosen and all(w.partition("=")[0] != group for w in ws) else []), *ws])


def prepare(folder: Path, script: str = "train") -> Callable[[list[str]], Outcome]:
    """Write tiny data, for analyze.py also a run, and return a function that runs the script there, in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, train=100, test=20)
    os.environ["HYDRA_MAIN_MODULE"] = "__main__"  # configs/ lies beside the script
    count = iter(range(10**9))
    runs = folder / "logs" / "train" / "runs"

    def call(script: str, fixed: Iterable[str], line: list[str]) -> Outcome:
        main = runpy.run_path(str(ROOT / f"{script}.py"))["main"]
        typed = {word.lstrip("+~").partition("=")[0] for word in line}
        return _in_process(main, folder, script, [*(w for w in fixed if w.partition("=")[0] not in typed), *line])

    def train(line: list[str]) -> Outcome:
        name = f"fuzz_{next(count)}"
        outcome, made = call("train", [*TINY, f"run_name={name}"], line), runs / name
        if outcome.kind == "refused" and made.exists() and not list(made.glob("checkpoints/*.ckpt")):
            outcome = Outcome("broken", f"{outcome.told}\n{made} was left behind")
        shutil.rmtree(made, ignore_errors=True)
        return outcome

    def analyze(line: list[str]) -> Outcome:
        return call("analyze", [*QUICK, f"checkpoint={runs / 'whole'}"], line)

    if script == "train":
        return train
    whole = call("train", [*TINY, "run_name=whole"], [])
    assert whole.kind == "done", whole.told
    return analyze


def _in_process(main: Callable[[], None], folder: Path, script: str, line: list[str]) -> Outcome:
    def hangs(*_: Any) -> None:
        raise TimeoutError(f"still running after {SECONDS} s")

    before, argv, told = Path.cwd(), sys.argv, io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGPROF, signal.SIGINT, signal.SIGTERM)}
    log, level = logging.getLogger().handlers[:], logging.getLogger().level
    GlobalHydra.instance().clear()
    os.chdir(folder)
    sys.argv = [str(ROOT / f"{script}.py"), *line]
    signal.signal(signal.SIGPROF, hangs)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            main()
        return Outcome("done", told.getvalue())
    except SystemExit as stop:
        if stop.code in (0, None):
            return Outcome("done", told.getvalue())
        message = told.getvalue()
        is_clean = stop.code in (1, 2) and "Traceback" not in message and message.strip()
        return Outcome("refused" if is_clean else "broken", message)
    except BaseException as error:  # it is what is looked for
        return Outcome("broken", f"{type(error).__name__}: {error}\n{told.getvalue()}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for handler in logging.getLogger().handlers:  # Hydra's, which write into the folder of the run
            if handler not in log:
                handler.close()
        logging.getLogger().handlers[:] = log
        logging.getLogger().setLevel(level)
        os.chdir(before)
        sys.argv = argv
        torch.set_flush_denormal(False)  # hypothesis needs the smallest numbers
        torch.use_deterministic_algorithms(False)
        torch.autograd.set_detect_anomaly(False)


def names_what_was_typed(line: list[str], told: str) -> bool:
    """Whether a message names a key, a group or a value of the command line, or says that a training diverged."""
    pieces = {piece for word in line for piece in re.split(r"[=.~+]", word) if len(piece) > 1}
    return "Last good checkpoint" in told or any(piece in told for piece in pieces)


def main(script: str, examples: int, folder: Path) -> None:
    """Run so many command lines of a script; print outcomes, and lines that broke or were refused without a name."""
    from hypothesis import HealthCheck, Phase, given, settings

    run, counts, start = prepare(folder, script), Counter[str](), time.monotonic()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(words(script))
    def one(line: list[str]) -> None:
        outcome = run(line)
        kind = outcome.kind
        if kind == "refused" and not names_what_was_typed(line, outcome.told):
            kind = "refused without a name"
        counts[kind] += 1
        if kind not in ("done", "refused"):
            print(f"--- {kind}: {' '.join(line)}\n{outcome.told.strip()[-1500:]}", flush=True)
        if sum(counts.values()) % 100 == 0:
            print(dict(counts), f"{time.monotonic() - start:.0f} s", flush=True)

    one()
    print(f"{sum(counts.values())} command lines: {dict(counts)} in {time.monotonic() - start:.0f} s")
