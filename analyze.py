"""Analyse the Jacobians of a trained network: python analyze.py --help"""

# Shell completion looks for "@hydra.main" in this file: eval "$(python analyze.py -sc install=bash)"

from typing import TYPE_CHECKING

from jacoscope.cli import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("analyze")
def main(cfg: "DictConfig") -> None:
    """Read the request → find the checkpoint → analyse samples or a whole split, or compare networks."""
    from hydra.core.hydra_config import HydraConfig

    from jacoscope.analysis.question import Question, find_pictures

    question = Question.from_config(cfg)
    if question.image is not None:
        find_pictures(question.image)
    from jacoscope.analysis.answer import answer  # imports much, which a slip need not wait for

    answer(question, cfg, HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
