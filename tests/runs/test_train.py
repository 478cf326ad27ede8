"""train.py as a user runs it: real processes, real MNIST, a few batches."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


class Trainings:
    """Runs train.py in a folder of its own, with MNIST unpacked once for all."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.folder, self.data_dir = folder, data_dir

    def command(self, *overrides: str) -> list[str]:
        small = ["trainer.max_epochs=1", "trainer.limit_train_batches=10", "trainer=cpu"]
        return [sys.executable, str(ROOT / "train.py"), *small, f"paths.data_dir={self.data_dir}", *overrides]

    def run(self, *overrides: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*overrides), cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=300
        )

    def directory(self, name: str) -> Path:
        return self.folder / "logs" / "train" / "runs" / name

    def result(self, name: str) -> dict[str, object]:
        return json.loads((self.directory(name) / "result.json").read_text())  # type: ignore[no-any-return]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("trainings"), data_dir)


@pytest.fixture(scope="module")
def finished(trainings: Trainings) -> "subprocess.CompletedProcess[str]":
    return trainings.run("run_name=finished")


def test_a_run_ends_with_what_came_out_and_what_to_type_next(
    trainings: Trainings, finished: "subprocess.CompletedProcess[str]"
) -> None:
    assert finished.returncode == 0, finished.stderr
    accuracy = trainings.result("finished")["metrics"]["test/accuracy"]  # type: ignore[index]
    for told in (
        f"{accuracy:.2%}",
        "logs/train/runs/finished",
        "tensorboard --logdir_spec finished:logs/train/runs/finished --samples_per_plugin=images=1000,jacobians=1000",
        "analyze.py checkpoint=logs/train/runs/finished",
        "Frobenius norm of ∂logits/∂pixels",
    ):
        assert told in finished.stdout


def test_a_run_directory_holds_all_that_is_known(
    trainings: Trainings, finished: "subprocess.CompletedProcess[str]"
) -> None:
    directory, result = trainings.directory("finished"), trainings.result("finished")
    for path in (".hydra/config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (directory / path).stat().st_size > 0
    assert list((directory / "tensorboard").glob("events.out.tfevents.*"))
    assert result["status"] == "finished"
    assert result["seed"] == 0
    assert result["versions"]["torch"] == torch.__version__.split("+")[0]  # type: ignore[index]
    assert result["config"]["trainer"]["limit_train_batches"] == 10  # type: ignore[index]
    assert {"val/loss", "val/accuracy", "test/loss", "test/accuracy"} <= set(result["metrics"])  # type: ignore[call-overload]


def test_a_checkpoint_holds_weights_and_plain_data_only(
    trainings: Trainings, finished: "subprocess.CompletedProcess[str]"
) -> None:
    checkpoint = torch.load(trainings.directory("finished") / "checkpoints" / "best.ckpt", weights_only=True)
    assert "network.conv1.weight" in checkpoint["state_dict"]


def written_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_a_finished_run_called_again_answers_from_its_result(
    trainings: Trainings, finished: "subprocess.CompletedProcess[str]"
) -> None:
    record = trainings.directory("finished") / "result.json"
    before = record.read_bytes()
    everything = written_in(trainings.directory("finished"))
    again = trainings.run("run_name=finished")
    assert again.returncode == 0
    assert written_in(trainings.directory("finished")) == everything  # nothing is written: the disk may be read-only
    assert again.stdout.strip() == finished.stdout[finished.stdout.index("test accuracy") :].strip()
    assert record.read_bytes() == before


def test_a_changed_configuration_is_refused_and_the_difference_named(
    trainings: Trainings, finished: "subprocess.CompletedProcess[str]"
) -> None:
    other = trainings.run("run_name=finished", "optimizer.lr=0.5")
    assert other.returncode == 1
    assert "optimizer.lr: 0.003 then, 0.5 now" in other.stderr
    assert "Traceback" not in other.stderr


def test_without_its_record_a_run_is_compared_with_the_config_that_it_was_started_with(
    trainings: Trainings, finished: "subprocess.CompletedProcess[str]"
) -> None:
    shutil.copytree(trainings.directory("finished"), trainings.directory("without_record"))
    (trainings.directory("without_record") / "result.json").unlink()
    for _ in range(2):  # the first start must not change what the second is compared with
        other = trainings.run("run_name=without_record", "optimizer.lr=0.5", "trainer.max_epochs=3")
        assert other.returncode == 1
        assert "optimizer.lr: 0.003 then, 0.5 now" in other.stderr
        assert not (trainings.directory("without_record") / "result.json").exists()
    again = trainings.run("run_name=without_record")
    assert again.returncode == 0, again.stderr
    assert "The training is complete (epoch 0, step 10); continuing with the evaluation" in again.stderr
    assert trainings.result("without_record")["metrics"] == trainings.result("finished")["metrics"]


def test_a_model_that_calls_sys_exit_leaves_its_status_and_a_record(trainings: Trainings) -> None:
    (trainings.folder / "leaving.py").write_text("import sys\n\ndef net():\n    sys.exit(3)\n")
    command = trainings.command("run_name=left", "model=custom", "model._target_=leaving.net")
    left = subprocess.run(
        command,
        cwd=trainings.folder,
        env={**environment(), "PYTHONPATH": os.pathsep.join([str(trainings.folder), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert left.returncode == 3, left.stderr
    assert "The run has failed: sys.exit(3) was called" in left.stderr
    assert trainings.result("left")["error"] == "sys.exit(3) was called"
    corrected = trainings.run("run_name=left", "callbacks=no_jacobian")  # under the same name
    assert corrected.returncode == 0, corrected.stderr
    assert trainings.result("left")["status"] == "finished"


def test_the_same_seed_gives_bitwise_the_same_weights(
    trainings: Trainings, finished: "subprocess.CompletedProcess[str]"
) -> None:
    trainings.run("run_name=same")
    trainings.run("run_name=other", "seed=1")

    def weights(name: str) -> torch.Tensor:
        checkpoint = torch.load(trainings.directory(name) / "checkpoints" / "last.ckpt", weights_only=True)
        return torch.cat([w.flatten() for w in checkpoint["state_dict"].values()])

    assert torch.equal(weights("same"), weights("finished"))
    assert not torch.equal(weights("other"), weights("finished"))


def test_ctrl_c_leaves_a_run_that_the_same_command_finishes(trainings: Trainings) -> None:
    overrides = ["run_name=stopped", "trainer.max_epochs=3", "trainer.limit_train_batches=30"]
    process = subprocess.Popen(
        trainings.command(*overrides),
        cwd=trainings.folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    last = trainings.directory("stopped") / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 200
    while not last.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130, stderr
    assert "run_name=stopped" in stderr
    assert "Traceback" not in stderr
    assert trainings.result("stopped")["status"] == "interrupted"

    step = torch.load(last, weights_only=True)["global_step"]
    again = trainings.run(*overrides)
    assert again.returncode == 0, again.stderr
    assert f"Resuming from epoch {step // 30}, step {step}" in again.stderr or step % 30 == 0
    assert trainings.result("stopped")["status"] == "finished"
    assert torch.load(last, weights_only=True)["epoch"] == 2


def test_the_last_checkpoint_is_the_latest_also_where_validation_does_not_improve(trainings: Trainings) -> None:
    still = ["optimizer.lr=1e-30", "trainer.max_epochs=3", "callbacks=no_jacobian"]  # validation stays as it is
    done = trainings.run("run_name=still", *still)
    assert done.returncode == 0, done.stderr
    folder = trainings.directory("still") / "checkpoints"
    epochs = {name: torch.load(folder / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")}
    assert epochs == {"best": 0, "last": 2}


def test_a_defect_or_a_full_disk_is_recorded_and_named(trainings: Trainings) -> None:
    in_the_way = trainings.directory("failed") / "in_the_way"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file")
    failed = trainings.run("run_name=failed", f"callbacks.checkpoint.dirpath={in_the_way}")
    assert failed.returncode != 0
    assert trainings.result("failed")["status"] == "failed"
