"""The whole analysis against the engine alone, in one process: python benchmarks/analysis.py [checkpoint] [samples]

Prints the time of the Jacobians by themselves, of the same samples in the same chunks as the analysis makes them; the
time of the analysis (Jacobians, norms, maps, parts, merged table, summary; no report), its parts and table written to
a new folder; their ratio, each round of both by itself; and the peak memory of the process.
"""

import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from hydra import compose, initialize_config_dir
from rich.console import Console

from jacoscope.analysis.network import TrainedNetwork, find_checkpoint, network_spec
from jacoscope.analysis.question import Question
from jacoscope.analysis.reduction import logits_jacobian
from jacoscope.analysis.split import analyse, split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.errors import UserError

ROUNDS = 5
GOAL = 1.3  # times the engine


def seconds_of_engine(network: TrainedNetwork, samples: int, chunk_size: int) -> float:
    """Time the Jacobians of the logits alone."""
    start = time.perf_counter()
    for first in range(0, samples, chunk_size):
        x, _ = network.read_samples("test", list(range(first, min(samples, first + chunk_size))))
        logits_jacobian(network, x, "auto")
    return time.perf_counter() - start


def seconds_of_analysis(network: TrainedNetwork, question: Question) -> float:
    """Time the analysis up to its summary."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        question = replace(question, output_dir=folder)
        answer = split_folder(question, network.spec)
        analyse(answer, question, network, Devices("cpu"), Console(quiet=True))
        return time.perf_counter() - start


def spread(values: list[float]) -> str:
    """Write the median, and the least and the largest."""
    return f"{median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure in turns, so that a busy machine disturbs both alike."""
    given = sys.argv[1] if len(sys.argv) > 1 else None
    samples = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with initialize_config_dir(str(Path(__file__).resolve().parents[1] / "configs")):
        cfg = compose("analyze")
    try:
        network = TrainedNetwork.load(network_spec(find_checkpoint(given, cfg.paths.log_dir), cfg, [], []))
    except UserError as error:
        raise SystemExit(str(error)) from None
    question = Question(limit=samples, report=False, attack=0)
    seconds_of_engine(network, 512, question.chunk_size)
    engine, analysis = [], []
    for _ in range(ROUNDS):
        engine.append(seconds_of_engine(network, samples, question.chunk_size))
        analysis.append(seconds_of_analysis(network, question))
    ratios = [whole / alone for whole, alone in zip(analysis, engine, strict=True)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{samples:,} samples, {ROUNDS} rounds in turns; median (least to largest)")
    print(f"engine alone   {spread(engine)} s   {samples / median(engine):,.0f} Jacobians/s")
    print(f"analysis       {spread(analysis)} s")
    print(f"ratio          {spread(ratios)}     goal {GOAL}, met in {sum(r <= GOAL for r in ratios)} of {ROUNDS}")
    print(f"peak memory    {peak:6.0f} MiB                goal 1,500")


if __name__ == "__main__":
    main()
