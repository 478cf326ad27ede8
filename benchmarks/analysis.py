"""The whole analysis against its Jacobians alone, in one process.

    python -m benchmarks.analysis [--checkpoint RUN] [--samples 10000] [--rounds 5] [--data data] [--tiny]

Shown are the time of the Jacobians by themselves, of the same samples in the same chunks as the analysis computes them;
the time of the analysis (Jacobians, norms, maps, parts, merged table, summary; no report), which writes its files to a
new folder; their ratio in each round; and the peak memory of the process. Without a checkpoint, the network is LeNet-5
with random weights; the time hardly depends on them.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig
from rich.console import Console

from benchmarks._command_line import parser
from benchmarks._config import composed
from benchmarks._machine import peak_memory, print_machine
from jacoscope.analysis.network import CheckpointFile, TrainedNetwork, find_checkpoint, network_spec
from jacoscope.analysis.question import Question
from jacoscope.analysis.reduction import logits_jacobian
from jacoscope.analysis.split import analyse, split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.errors import UserError
from jacoscope.runs.build import build_network

GOAL = 1.3  # times the Jacobians alone
MEMORY_GOAL = 1500  # MiB


def seconds_of_jacobians(network: TrainedNetwork, question: Question, samples: int) -> float:
    """Time the Jacobians of the logits alone."""
    size, strategy = question.chunk_size, network.usable_strategy(question.strategy)
    start = time.perf_counter()
    for first in range(0, samples, size):
        x, _ = network.read_samples("test", list(range(first, min(samples, first + size))))
        logits_jacobian(network, x, strategy)
    return time.perf_counter() - start


def seconds_of_analysis(network: TrainedNetwork, question: Question) -> float:
    """Time the analysis up to its summary."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        question = replace(question, output_dir=folder)
        answer = split_folder(question, network.spec)
        analyse(answer, question, network, Devices("cpu"), Console(quiet=True))
        return time.perf_counter() - start


def load_network(cfg: DictConfig, checkpoint: str | None, folder: Path) -> TrainedNetwork:
    """Load a trained network, or make one with random weights.

    Args:
        cfg: the composed config of analyze.py.
        checkpoint: a run directory or a file; none for random weights.
        folder: for a checkpoint of random weights.

    Raises:
        UserError: if the checkpoint cannot be loaded.
    """
    if checkpoint is not None:
        return TrainedNetwork.load(network_spec(find_checkpoint(checkpoint, cfg.paths.log_dir), cfg, [], []))
    network = build_network({"images": cfg.images, "model": cfg.model})
    file = folder / "random.ckpt"
    torch.save({"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}}, file)
    return TrainedNetwork.load(network_spec(CheckpointFile(file, None), cfg, ["model=lenet5"], []))


def spread(values: list[float]) -> str:
    """Return the median, and the least and the largest."""
    return f"{median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def options(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    command_line = parser(__doc__, rounds=5, data=True)
    command_line.add_argument(
        "--checkpoint", metavar="RUN", help="a run directory or a .ckpt; by default random weights"
    )
    command_line.add_argument("--samples", type=int, default=10_000, help="of the test split")
    given = command_line.parse_args(words)
    if given.tiny:
        given.samples, given.rounds = 20, 1
    return given


def main(words: Sequence[str] | None = None) -> None:
    """Measure in turns, so that a busy machine disturbs both alike."""
    given = options(words)
    print_machine()
    question = Question(limit=given.samples, report=False, attack=0)
    jacobians, analysis = [], []
    with (
        TemporaryDirectory() as folder,
        composed("analyze", f"paths.output_dir={folder}", f"paths.data_dir={given.data}") as cfg,
    ):
        try:
            network = load_network(cfg, given.checkpoint, Path(folder))
        except UserError as error:
            raise SystemExit(str(error)) from None
        seconds_of_jacobians(network, question, min(512, given.samples))
        for _ in range(given.rounds):
            jacobians.append(seconds_of_jacobians(network, question, given.samples))
            analysis.append(seconds_of_analysis(network, question))
    ratios = [whole / alone for whole, alone in zip(analysis, jacobians, strict=True)]
    met = sum(ratio <= GOAL for ratio in ratios)
    print(f"{given.samples:,} samples, {given.rounds} rounds in turns; median (least to largest)")
    print(f"Jacobians alone  {spread(jacobians)} s   {given.samples / median(jacobians):,.0f} Jacobians/s")
    print(f"analysis         {spread(analysis)} s")
    print(f"ratio            {spread(ratios)}     goal {GOAL}, met in {met} of {given.rounds}")
    print(f"peak memory      {peak_memory():6.0f} MiB                goal {MEMORY_GOAL:,}")


if __name__ == "__main__":
    main()
