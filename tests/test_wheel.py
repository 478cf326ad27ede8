"""The wheel has everything, and its command does in an empty folder what train.py and analyze.py do in a clone."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import jacoscope
from jacoscope.data.mnist import MD5_OF_FILES

ROOT = Path(__file__).parents[1]
MINE = """
from torch import nn


class Mine(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def jacoscope_command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that has the wheel and otherwise the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files are not followed
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", f"--python={python}", "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*install, "--ignore-installed", str(wheel)], check=True)
    return folder / "bin" / "jacoscope"


def test_the_wheel_carries_all_files_mnist_and_its_notice_among_them(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for file in [*(f"{name}.xz" for name in MD5_OF_FILES), "README.md"]:
        assert f"jacoscope/data/mnist_idx/{file}" in names
    for path in (ROOT / "src" / "jacoscope").rglob("*"):
        inside = path.relative_to(ROOT / "src")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inside.parts):
            assert inside.as_posix() in names
    for file in ("train.py", "analyze.py", *(f.relative_to(ROOT) for f in (ROOT / "configs").rglob("*.yaml"))):
        assert f"jacoscope/scripts/{file}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert f"jacoscope-{jacoscope.__version__}-" in wheel.name
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert b"[tensorboard_plugins]\njacobians = jacoscope.board.plugin:JacobiansPlugin" in zipfile.ZipFile(wheel).read(
        entry_points
    )


def test_the_package_index_can_show_it(wheel: Path) -> None:
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel)], check=True, capture_output=True)


def test_the_command_trains_and_analyses_in_an_empty_folder(jacoscope_command: Path, tmp_path: Path) -> None:
    """With a network and a config of the user's own, which are found in the folder where the command is typed."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "configs" / "model").mkdir(parents=True)
    (tmp_path / "configs" / "model" / "mlp.yaml").write_text("_target_: mine.Mine\nwidth: 7\n")
    hidden = ("PYTHONPATH", "PYTHONHOME")
    environment = {k: v for k, v in os.environ.items() if k not in hidden} | {"OMP_NUM_THREADS": "1"}

    def typed(*words: str) -> str:
        command = [str(jacoscope_command), *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    tiny = ["trainer.max_epochs=1", "trainer.limit_train_batches=4", "trainer.limit_val_batches=2", "trainer=cpu"]
    tiny += ["trainer.limit_test_batches=1", "callbacks.jacobian.max_samples=8", "callbacks.jacobian.train_samples=4"]
    said = typed("train", "model=mlp", "run_name=mine", *tiny)
    assert "jacoscope analyze checkpoint=logs/train/runs/mine 'trust=[mine]'" in said
    assert "width: 7" in (tmp_path / "logs/train/runs/mine/.hydra/config.yaml").read_text()
    said = typed("analyze", "checkpoint=logs/train/runs/mine", "trust=[mine]", "sample=3")
    assert "test sample 3" in said
    assert "mine" in typed("runs", "logs")
    assert typed("--version") == f"jacoscope {jacoscope.__version__}\n"


def test_the_shell_completes_commands_groups_and_choices(jacoscope_command: Path) -> None:
    for line, expected in (
        ("jacoscope ", "analyze"),
        ("jacoscope train opt", "optimizer="),
        ("jacoscope train optimizer=", "optimizer=muon"),
    ):
        environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
        command = [str(jacoscope_command), "-sc", "query=bash"]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        assert expected in done.stdout.split()
