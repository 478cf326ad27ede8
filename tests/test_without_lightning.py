"""jacoscope.measure and jacoscope.log do in a plain PyTorch loop what the callback does in a Lightning training."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import jacoscope
from jacoscope import JacobianCallback
from jacoscope.errors import UserError

from .callbacks.someone import ALL, X, Y, events, jacobians, train

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_same_is_logged_as_by_the_callback(tmp_path: Path) -> None:
    watch = JacobianCallback(max_samples=ALL, train_samples=0, images_every_n_epochs=1)
    module, _ = train(tmp_path / "lightning", [watch], epochs=1)
    result = jacoscope.measure(module, X, Y)
    with SummaryWriter(str(tmp_path / "plain")) as writer:
        jacoscope.log(writer, result, step=6)
    one, other = events(tmp_path / "lightning"), events(tmp_path / "plain")
    for kind in ("scalars", "images", "histograms", "tensors"):
        by_callback = {tag for tag in one.Tags()[kind] if "jacobian" in tag or "custom_scalars" in tag}
        by_callback -= {"jacobian-about/seconds", "jacobian-about/share_of_epoch"}
        assert by_callback == set(other.Tags()[kind]), kind
    for tag in other.Tags()["scalars"]:
        assert other.Scalars(tag)[-1].value == pytest.approx(one.Scalars(tag)[-1].value, rel=1e-3, abs=1e-6), tag
    for tag in other.Tags()["images"]:
        assert (other.Images(tag)[-1].width, other.Images(tag)[-1].height) == (
            one.Images(tag)[-1].width,
            one.Images(tag)[-1].height,
        )


def test_numbers_and_maps_are_those_of_ten_backward_passes() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))
    x, y = torch.rand(11, 2, 6, 6), torch.arange(11) % 3
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = jacoscope.measure(model, x, y, class_names=["a", "b", "c"])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    J = jacobians(model, x)
    torch.testing.assert_close(result.values["logits/frobenius"], J.square().sum((1, 2)).sqrt())
    drawn = [int((y == k).nonzero()[0]) for k in range(3)]
    expected = J.view(11, 3, 2, 6, 6).sum(2)[drawn]
    torch.testing.assert_close(result.maps(), expected, atol=1e-5, rtol=1e-4)
    assert "Frobenius norm" in repr(result)
    assert "data:image/png" in result._repr_html_()
    largest = float(result.values["logits/frobenius"].max())
    assert f"<td>{largest:.4g}</td>" in result._repr_html_()


def test_pictures_over_steps_and_training_curves_come_with_later_calls(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with SummaryWriter(str(tmp_path)) as writer:
        for step in (0, 10):
            result = jacoscope.measure(model, X[:9], Y[:9])
            jacoscope.log(writer, result, step, training=jacoscope.measure(model, X[9:20]))
            with torch.no_grad():
                model[1].weight.mul_(2)
    logged = events(tmp_path)
    assert len(logged.Tensors("custom_scalars__config__")) == 1
    assert any(tag.endswith("over_epochs") for tag in logged.Tags()["images"])
    ratio = "jacobian/logits/frobenius/mean"
    assert logged.Scalars(ratio)[1].value == pytest.approx(2 * logged.Scalars(ratio)[0].value, rel=1e-5)
    assert logged.Scalars("jacobian-val_over_train/logits/frobenius")[0].value > 0


def test_a_digit_draws_itself(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = torch.rand(2, 1, 8, 8)
    J, logits = jacoscope.jacobian(model, x, return_outputs=True)
    picture = jacoscope.show(J, x, logits, torch.tensor([0, 2]))
    picture.save(tmp_path / "two.png")
    assert (tmp_path / "two.png").read_bytes() == picture._repr_png_()
    assert picture._repr_png_()[:4] == b"\x89PNG"
    single = jacoscope.show(J[0], x[0], logits[0], 0)
    assert single.pixels.shape[0] < picture.pixels.shape[0]
    assert not np.array_equal(jacoscope.show(J[0], x[0]).pixels, jacoscope.show(-J[0], x[0]).pixels)


def test_mistakes_are_named() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), torch.rand(4, 1, 8, 8)
    with pytest.raises(UserError, match=r"y is a tensor \[4, 3\].*whole numbers"):
        jacoscope.measure(model, x, torch.eye(4)[:, :3])
    with pytest.raises(UserError, match="2 class_names were given, but there are 3 outputs"):
        jacoscope.measure(model, x, class_names=["a", "b"])
    with pytest.raises(UserError, match="some of logits, probs, log_probs"):
        jacoscope.measure(model, x, outputs=["logit"])
    with pytest.raises(UserError, match=r"outputs=\[\] is not allowed"):
        jacoscope.measure(model, x, outputs=[])
    with pytest.raises(UserError, match="max_drawn=0 is not allowed; it is 1 or more"):
        jacoscope.measure(model, x, max_drawn=0)
    with pytest.raises(UserError, match="x has no samples"):
        jacoscope.measure(model, x[:0])
    with pytest.raises(UserError, match=r"not to a list\. In a Lightning project, use JacobianCallback"):
        jacoscope.log([], jacoscope.measure(model, x), 0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"no maps of 'log_probs': there are maps of"):
        jacoscope.measure(model, x).maps("log_probs")
    with pytest.raises(UserError, match=r"J is \[3, 64\] and x is \[1, 8, 8\]"):
        jacoscope.show(torch.rand(3, 64), x[0])
    J = torch.rand(4, 3, 1, 8, 8)
    for arguments, told in (
        ({"y": torch.arange(2)}, "y has 2 classes, but there are 4 images"),
        ({"logits": torch.rand(4, 2)}, r"logits are \[4, 2\], but J is of 4 samples and 3 outputs"),
        ({"class_names": ["a"]}, "1 class_names were given, but there are 3 outputs"),
        ({"output": "logit"}, r"output=logit: it is one of .* Did you mean output=logits\?"),
    ):
        with pytest.raises(UserError, match=told):
            jacoscope.show(J, x, **arguments)  # type: ignore[arg-type]


def test_an_unknown_class_is_drawn_as_unknown() -> None:
    J, x = torch.rand(2, 3, 1, 8, 8), torch.rand(2, 1, 8, 8)
    expected = jacoscope.show(J, x).pixels
    assert np.array_equal(jacoscope.show(J, x, y=torch.tensor([-1, 7])).pixels, expected)


def test_it_works_where_no_lightning_is_installed() -> None:
    code = """
import sys
for name in ("pytorch_lightning", "lightning", "lightning_fabric"):
    sys.modules[name] = None
import torch, jacoscope
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
print(float(jacoscope.measure(model, torch.rand(4, 1, 8, 8)).values["probs/spectral"][0]) > 0)
try:
    jacoscope.JacobianCallback
except ImportError as error:
    print("pip install pytorch-lightning" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"]


def test_samples_that_depend_on_each_other_are_refused() -> None:
    class Centred(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) - x.flatten(1).mean(0)

    with pytest.raises(jacoscope.JacobianError, match="samples beside it"):
        jacoscope.measure(Centred(), torch.rand(6, 1, 3, 3))
