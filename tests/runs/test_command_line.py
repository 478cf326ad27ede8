"""Mistakes on the command line: one message each, that names what is allowed, and nothing is started."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from jacoscope.cli import _leave_to_main_thread, _message

ROOT = Path(__file__).parents[2]


def train(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=lenet6"], ["There is no model=lenet6", "Did you mean model=lenet5?", "lenet5_1998", "resnet18"]),
        (["optimizer.lrr=1"], ["no key optimizer.lrr", "Did you mean optimizer.lr?", "weight_decay"]),
        (["modle=lenet5"], ["no key modle", "Did you mean model?", "Groups: "]),
        (["trainer.accumulate=3"], ["Did you mean trainer.accumulate_grad_batches?"]),
        (["trainer.benchmark=true"], ["pytorch_lightning.Trainer takes it", "+trainer.benchmark=VALUE"]),
        (["~trainer.nothing"], ["no key trainer.nothing", "Keys of trainer: "]),
        (["seed"], ["seed cannot be read", "KEY=VALUE"]),
        (["model.channels=[1"], ["model.channels=[1 cannot be read"]),
        (["experiment=none_such"], ["experiment=none_such"]),
        (["data=image_folder"], ["data.source.root=VALUE", "images.classes=VALUE"]),
        (["seed=x"], ["seed='x'", "int"]),
        (["optimizer.lr=fast"], ["optimizer.lr='fast'", "float"]),
        (["trainer.max_epochs=1.5"], ["trainer.max_epochs=1.5", "int"]),
        (["objective=val/acuracy"], ["objective", "val/accuracy"]),
        (["model=custom", "model._target_=torch.nn.Linearr"], ["Did you mean torch.nn.Linear?"]),
        (["trainer.accelerator=gpuu"], ["gpuu"]),
        (["-x"], ["unrecognized arguments: -x"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_slip_is_told_in_one_message(words: list[str], told: list[str], tmp_path: Path) -> None:
    done = train(tmp_path, *words)
    assert done.returncode not in (0, -9), done.stdout
    for phrase in told:
        assert phrase in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


def test_help_names_every_group_and_every_choice(tmp_path: Path) -> None:
    done = train(tmp_path, "--help")
    assert done.returncode == 0
    groups = [path for path in (ROOT / "configs").iterdir() if path.is_dir() and path.name != "hydra"]
    for group in groups:
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{group.name}: ")]
        assert {path.stem for path in group.glob("*.yaml")} == set(line.partition(": ")[2].split(", "))
    assert not list(tmp_path.iterdir())


def test_help_and_cfg_import_nothing_heavy(tmp_path: Path) -> None:
    for words in (["--help"], ["--cfg", "job"]):
        code = f"import sys, runpy; sys.argv = ['train.py', *{words}]\n"
        code += f"try: runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
        code += "except SystemExit: pass\n"
        code += "print({'torch', 'pytorch_lightning', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.stderr.strip().endswith("set()"), done.stderr


INTERRUPTED = """
import os, signal, time
from jacoscope.cli import command

@command("config")
def main(cfg):
    error = ValueError("left half-way")
    try:
        if cfg.stop:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
    except KeyboardInterrupt:
        pass
    raise error

main()
"""


def test_ctrl_c_of_which_a_library_makes_an_error_of_its_own_is_told_as_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.yaml").write_text("stop: true")
    (tmp_path / "script.py").write_text(INTERRUPTED)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "script.py", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )

    stopped, failed = run(), run("stop=false")
    assert (stopped.returncode, stopped.stderr.strip()) == (130, "Stopped.")
    assert failed.returncode == 1
    assert "ValueError: left half-way" in failed.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
def test_curves_that_find_the_disk_full_end_in_a_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    writer = EventFileWriter(str(tmp_path))
    file = next(tmp_path.iterdir())
    file.unlink()
    file.symlink_to("/dev/full")
    before = threading.excepthook
    threading.excepthook = _leave_to_main_thread
    try:
        with pytest.raises(OSError, match="No space left") as raised:  # noqa: PT012
            writer.add_event(Event(step=1))
            writer.flush()
    finally:
        threading.excepthook = before
    assert capfd.readouterr().err == ""
    message = _message(raised.value, Path(), "train")
    assert message == (
        "The curves and pictures for TensorBoard cannot be written: No space left on device. "
        "Free some space, or choose another folder"
    )
