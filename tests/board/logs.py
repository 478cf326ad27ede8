"""Log folders with known Jacobians, and a TensorBoard that serves them."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from jacoscope import board, jacobian

ROOT = Path(__file__).parents[2]
SIDE, CLASSES = 8, 4
NAMES = ("round", "long", "<b>bold</b>", "=1+1")
IMAGES = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
LABELS = (0, 2, -1)


def network(seed: int, step: int) -> nn.Module:
    """A network that changes from step to step."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    for parameter in model.parameters():
        start, end = torch.randn(2, *parameter.shape, generator=generator)
        parameter.data = (start + end * step / 30) * 0.4
    return model.double()


def exact(seed: int, step: int, output: str = "logits") -> Tensor:
    """The Jacobians of the images, in double precision, ``[samples, classes, SIDE, SIDE]``."""
    J = jacobian(network(seed, step), IMAGES.double(), output)
    assert isinstance(J, Tensor)
    return J.squeeze(2)


def log(folder: Path, seed: int, steps: range) -> None:
    """Log the network at some steps, as a loop of one's own does."""
    with SummaryWriter(str(folder)) as writer:
        for step in steps:
            J, logits = jacobian(network(seed, step), IMAGES.double(), return_outputs=True)
            board.write(writer, step, IMAGES, J, logits, labels=LABELS, indices=[5, 70, 3], class_names=NAMES)


@contextmanager
def tensorboard(folder: Path, entry: Path, *options: str) -> Iterator[str]:
    """Run TensorBoard as its own process; return its address, without a slash at the end.

    Args:
        folder: with the logs.
        entry: a folder, to which the entry point is written that pyproject.toml declares: so the tab is there in an
            environment that was installed before it was made, too.
        options: of TensorBoard.
    """
    found = re.search(r"\[project\.entry-points\.tensorboard_plugins\]\n(.*)\n", (ROOT / "pyproject.toml").read_text())
    assert found
    info = entry / "jacoscope-0.0.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jacoscope\nVersion: 0.0.0\n")
    (info / "entry_points.txt").write_text(f"[tensorboard_plugins]\n{found[1].replace(chr(34), '')}\n")
    start = "import sys; sys.path[:0] = sys.argv.pop(1).split('|'); from tensorboard.main import run_main; run_main()"
    command = [sys.executable, "-c", start, f"{entry}|{ROOT / 'src'}", "--logdir", str(folder), "--port", "0"]
    with (entry / "tensorboard.log").open("w+") as told:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--reload_interval", "1", *options], stdout=told, stderr=told
        )
        try:
            yield _address(server, Path(told.name))
        finally:
            server.terminate()
            server.wait(20)


def _address(server: subprocess.Popen[bytes], told: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"TensorBoard \S+ at (\S+)", told.read_text()):
            return found[1].rstrip("/")
        time.sleep(0.05)
    raise AssertionError(told.read_text())


def get(address: str) -> tuple[int, str, bytes]:
    """Return the status, the content type and the content of an answer."""
    try:
        with urlopen(address, timeout=30) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            return answer.status, answer.headers["Content-Type"], answer.read()
    except HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()
