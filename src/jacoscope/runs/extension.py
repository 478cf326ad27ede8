"""Extend a finished run to more epochs, where the result is that of a run that had so many from the start."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

from jacoscope.errors import UserError
from jacoscope.runs.result import Result, differences

PLANNED = {
    "DistortionAnnealing": "weakens the distortions towards the last epoch",
    "WeightAveraging": "has put the averaged weights into the network at the end",
}
"""Callbacks, with their subclasses, that act by the length of the training."""
PROBES = 1000  # steps at most in which two schedules are compared, so that a long training costs no minutes


def extended(result: Result, config: dict[str, Any], last_checkpoint: Path) -> Result:
    """Return the record of a finished run that is to go on: interrupted, with the new number of epochs.

    Args:
        result: the record of the finished run.
        config: the new config; it differs in ``trainer.max_epochs`` alone.
        last_checkpoint: of the run.

    Raises:
        UserError: if the training cannot go on as if it had been longer from the start. The message says why.
    """
    before, after = result.config["trainer"]["max_epochs"], config["trainer"]["max_epochs"]
    anew = f"To train it anew: run_name=A_NEW_NAME trainer.max_epochs={after}, without extend=true"
    if after < before:
        raise UserError(
            f"extend=true trainer.max_epochs={after}: the run has {before} epochs already. Type a larger one"
        )
    if reason := _reason_against(config, before, after, _steps(last_checkpoint, before)):
        raise UserError(f"{last_checkpoint.parents[1]} cannot be extended: {reason}.\n{anew}")
    kept = {"max_epochs": before, "metrics": result.metrics, "wall_seconds": result.wall_seconds}
    return replace(result, status="interrupted", config=config, extended=[*result.extended, kept])


def is_longer(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two configs differ in the number of epochs alone."""
    return [line.partition(":")[0] for line in differences(before, after)] == ["trainer.max_epochs"]


def _steps(last_checkpoint: Path, epochs: int) -> int | None:
    """Return how many steps the epochs of a complete training took; None if it ended before the last of them."""
    from jacoscope.checkpoints import read_checkpoint

    content = read_checkpoint(last_checkpoint)
    end = content.get("go_on", {})
    complete = end.get("finished") and end.get("max_epochs") == epochs and content.get("epoch") == epochs - 1
    return content["global_step"] if complete else None


def _reason_against(config: dict[str, Any], before: int, after: int, steps: int | None) -> str | None:
    from jacoscope.runs.targets import find_target

    if steps is None:
        return (
            f"its training ended before epoch {before}, by early stopping or trainer.max_steps, or was made by an "
            "earlier version of jacoscope"
        )
    for name, node in config["callbacks"].items():
        target = find_target(node["_target_"])
        for kind in inspect.getmro(target) if inspect.isclass(target) else ():
            if kind.__name__ in PLANNED:
                return f"callbacks.{name} {PLANNED[kind.__name__]}"
    if not same_schedule(config, steps, steps * after // before):
        return (
            f"the schedule of its learning rate, {config['scheduler']['_target_'].rpartition('.')[2]}, was planned "
            f"over its {before} epochs, and would have been another one over {after} from the first step on. Runs with "
            "scheduler=constant can be extended"
        )
    return None


def same_schedule(config: dict[str, Any], before: int, after: int) -> bool:
    """Whether the schedule of ``config`` over ``before`` steps goes on, with its state loaded, like one over ``after``.

    Long schedules are compared at a smaller scale.
    """
    import torch

    from jacoscope.runs.build import build

    make = build(config, "scheduler")

    def of(steps: int) -> Any:
        return make(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0), steps)

    def rates(schedule: Any, steps: range) -> list[float]:
        found = []
        for step in steps:
            found.append(float(schedule.get_last_lr()[0]))
            schedule.optimizer.step()
            if step + 1 < steps.stop:
                schedule.step()
        return found

    scale = max(1, after // PROBES)
    before, after = max(1, before // scale), max(2, after // scale)
    short, straight, resumed = of(before), of(after), of(after)
    first = rates(short, range(before))
    expected = rates(straight, range(after))
    if first != expected[:before]:
        return False
    resumed.load_state_dict(short.state_dict())
    resumed.optimizer.load_state_dict(short.optimizer.state_dict())
    resumed.optimizer.step()
    resumed.step()
    return rates(resumed, range(before, after)) == expected[before:]
