"""One start of a sweep: which one it is, that nobody else is at it, and what to say when it is over."""

import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig

from jacoscope.errors import UserError
from jacoscope.runs.keys import check_keys
from jacoscope.runs.lock import alone_in
from jacoscope.sweeps.directory import DONE, LAUNCHER_LOG, LOG, SweepDirectory, name_of_sweep, names_the_sweep
from jacoscope.sweeps.jobs import dismiss_workers
from jacoscope.sweeps.torchrun import be_the_only_process

show_at_end: Callable[[Path], None] = print
"""Shows the runs of a sweep, given its directory; set by :func:`jacoscope.sweeps.search.register`."""



@contextmanager
def session(config: DictConfig, words: Sequence[str], swept: Sequence[str]) -> Iterator[SweepDirectory]:
    """Open the sweep of a command and be alone in it.

    The directory is named after what is swept, unless ``run_name`` names it: so the same command finds it again.

    Args:
        config: the composed config of the command, with ``hydra``.
        words: the command line, without what is Hydra's own.
        swept: the keys that vary.

    Raises:
        UserError: if another process is at it, it holds a sweep by another command, or a config file sets an unknown
            key.
    """
    check_keys(config, config.hydra)
    be_the_only_process()
    if any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in config.hydra.overrides.hydra):
        raise UserError("hydra.sweep.dir cannot be set: run_name=NAME names a sweep, paths.log_dir=FOLDER places it")
    named = any(map(names_the_sweep, words))
    command = [word for word in words if not names_the_sweep(word)]
    parent = Path(config.hydra.sweep.dir)
    path = parent if named else parent.parent / name_of_sweep(command, swept)
    with alone_in(path), _interrupted_once():
        sweep = SweepDirectory.opened(path, command)
        try:
            yield sweep
        except KeyboardInterrupt as stop:
            done = sum(sweep.state(job) in DONE for job in sweep.jobs)
            raise KeyboardInterrupt(
                f"Stopped, with {done} of {len(sweep.jobs)} runs done. The same command goes on with the others; "
                f"how it stands: python -m jacoscope.runs {path}"
            ) from stop
        finally:
            dismiss_workers()
            log = path / LAUNCHER_LOG
            if log.exists() and log.stat().st_size == 0:
                log.unlink()


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Hear Ctrl-C once: again, it would break off the tidying up, and leave processes behind that go on training."""
    hear = signal.getsignal(signal.SIGINT)
    if not callable(hear):  # it is ignored in the background
        yield
        return

    def hear_once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        hear(number, frame)

    signal.signal(signal.SIGINT, hear_once)
    yield
    signal.signal(signal.SIGINT, hear)  # not in a finally: once interrupted, it stays ignored to the end


def conclude(sweep: SweepDirectory, repeated: Collection[int] = ()) -> None:
    """Show what came out.

    Args:
        sweep: the sweep.
        repeated: jobs that a later one repeats, and whose failure therefore does not count.

    Raises:
        UserError: if runs failed; then the exit status tells too.
    """
    if not sweep.jobs:
        print("There is nothing to do: the study has all the trials that were asked for")
        return
    show_at_end(sweep.path)
    failed = [job for job in sweep.jobs if sweep.state(job) not in DONE and job.number not in repeated]
    if failed:
        numbers = ", ".join(str(job.number) for job in failed)
        raise UserError(
            f"{len(failed)} of {len(sweep.jobs)} runs failed: {numbers}. The same command runs them again, and only "
            f"them; what they printed is in {sweep.run_path(failed[0]) / LOG}"
        )
