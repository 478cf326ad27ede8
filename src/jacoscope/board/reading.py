"""Read what was logged for the tab, out of the event files of a run."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jacoscope.board.format import PLUGIN, Course, Event, Probe, decode, maps_tag, to_array
from jacoscope.errors import UserError


def read(log_dir: str | Path) -> dict[str, Course]:
    """Read the Jacobians that a run has logged.

    Args:
        log_dir: the folder with the run's event files.

    Returns:
        What was logged of each sample, by tag: ``read(folder)["jacobians/17"].jacobians["logits"]`` is
        ``[steps, classes, height, width]``.

    Raises:
        UserError: if there is no such folder.
        FormatError: if the event files hold something else under the tab's name.
    """
    if not Path(log_dir).is_dir():
        raise UserError(f"There is no folder {log_dir}")
    events = EventAccumulator(str(log_dir), size_guidance={"tensors": 0})
    events.Reload()
    try:
        contents = events.PluginTagToContent(PLUGIN)
    except KeyError:  # nothing of this plugin
        return {}

    def series(tag: str) -> list[Event]:
        return [Event(event.step, to_array(event.tensor_proto)) for event in events.Tensors(tag)]

    found: dict[str, Course] = {}
    for tag, content in contents.items():
        if b'"image"' in content:
            probe = Probe.from_json(content)
            tags = {name: maps_tag(tag, name) for name in probe.outputs}
            maps = {name: series(key) if key in contents else [] for name, key in tags.items()}
            found[tag] = decode(probe, series(tag), maps)
    return found
