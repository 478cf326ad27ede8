"""Ask a trained network about its Jacobians: python analyze.py --help"""

from typing import TYPE_CHECKING

from jacoscope.runs.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("analyze")
def main(cfg: "DictConfig") -> None:
    """Read the question → find the checkpoint → answer: a single picture, a whole split, or two networks compared."""
    from hydra.core.hydra_config import HydraConfig

    from jacoscope.analysis.answer import answer
    from jacoscope.analysis.question import Question

    answer(Question.from_config(cfg), cfg, HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
