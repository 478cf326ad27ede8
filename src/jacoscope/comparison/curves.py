"""What runs logged while they trained, from their TensorBoard files."""

from contextlib import suppress
from pathlib import Path

Curve = tuple[list[int], list[float]]
POINTS = 200  # of a curve; more than a screen shows


def read_curves(run: Path, tags: list[str]) -> dict[str, Curve]:
    """Read some scalars of a run, by tag: steps and values; where a step was done twice, the later value counts.

    The run may be training: a file that it takes away meanwhile, since it holds what is logged again, is left out.

    Args:
        run: its directory.
        tags: which.
    """
    files = sorted(file for file in (run / "tensorboard").glob("events.out.tfevents.*") if file.is_file())
    if not files:
        return {}
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.compat import tf
    from tensorboard.util.tensor_util import make_ndarray

    points: dict[str, dict[int, float]] = {}
    for file in files:
        with suppress(tf.errors.NotFoundError, FileNotFoundError):  # the first where it is opened, the other later
            for event in EventFileLoader(str(file)).Load():
                for value in event.summary.value:
                    if value.tag in tags:
                        points.setdefault(value.tag, {})[event.step] = float(make_ndarray(value.tensor))
    found = {}
    for tag, values in points.items():
        steps = sorted(values)
        kept = [*steps[:: max(1, len(steps) // POINTS)]]
        kept = kept if kept[-1] == steps[-1] else [*kept, steps[-1]]
        found[tag] = (kept, [values[step] for step in kept])
    return found
