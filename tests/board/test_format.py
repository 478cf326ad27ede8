"""What is written is read again, within the tolerance that the format promises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from jacoscope import board
from jacoscope.board.format import TOLERANCE, FormatError, Probe, Value
from jacoscope.errors import UserError

from .logs import IMAGES, LABELS, NAMES, SIDE, exact, log, network


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_what_a_loop_of_ones_own_logs_is_read_again(tmp_path: Path, output: str) -> None:
    log(tmp_path, 1, range(0, 30, 10))
    read = board.read(tmp_path)
    assert list(read) == ["jacobians/5", "jacobians/70", "jacobians/3"]
    for place, course in enumerate(read.values()):
        assert course.steps.tolist() == [0, 10, 20]
        assert course.probe.class_names == NAMES
        assert course.probe.label == LABELS[place]
        assert np.abs(course.probe.image / 255 - IMAGES[place].numpy()).max() < 0.5 / 255 + 1e-6
        for t, step in enumerate(course.steps):
            expected = exact(1, int(step), output)[place].numpy()
            assert np.abs(course.jacobians[output][t] - expected).max() <= TOLERANCE * np.abs(expected).max()
            logits = network(1, int(step))(IMAGES.double())[place]
            assert course.predictions[t] == int(logits.argmax())
            assert course.probabilities[t] == pytest.approx(logits.softmax(0).tolist(), rel=1e-5)
            J = exact(1, int(step), output)[place].flatten(1)
            assert course.values[f"{output}/frobenius"][t] == pytest.approx(float(J.norm()), rel=1e-4)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    sharpness=st.floats(-3, 2.5),
    common=st.sampled_from([0.0, 1.0, 1e4]),
    count=st.integers(1, 6),
)
def test_maps_are_exact_to_the_tolerance_whatever_the_confidence(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sharpness: float, common: float, count: int
) -> None:
    """Also where all logits have nearly the same derivatives, so that those of the probabilities cancel."""
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(1, count, 1, 5, 4, generator=generator) + common * torch.randn(1, 1, 1, 5, 4, generator=generator)
    logits = torch.randn(1, count, generator=generator) * 10**sharpness
    folder = tmp_path_factory.mktemp("log")
    with SummaryWriter(str(folder)) as writer:
        board.write(writer, 3, torch.rand(1, 1, 5, 4), J, logits)
    (course,) = board.read(folder).values()
    p = logits.double().softmax(1)[0]
    differences = J.double()[0, :, None] - J.double()[0, None]
    for output, expected in (
        ("logits", J.double()[0]),
        ("probs", p.view(-1, 1, 1, 1) * torch.einsum("j,kjchw->kchw", p, differences)),
    ):
        error = (torch.from_numpy(course.jacobians[output][0]) - expected.squeeze(1)).abs().max()
        assert error <= TOLERANCE * expected.abs().max() + 1e-37


def test_what_is_not_finite_stays_so_and_the_rest_is_exact(tmp_path: Path) -> None:
    J = torch.randn(2, 3, 1, 4, 4)
    J[0, 1, 0, 2, 2], J[0, 2, 0, 0, 0] = torch.nan, torch.inf
    with SummaryWriter(str(tmp_path)) as writer:
        board.write(writer, 0, torch.rand(2, 1, 4, 4), J, torch.randn(2, 3))
    first, second = board.read(tmp_path).values()
    kept = first.jacobians["logits"][0]
    assert np.isnan(kept).sum() == 2
    assert kept == pytest.approx(
        J[0].squeeze(1).where(J[0].squeeze(1).isfinite(), torch.nan).numpy(), rel=1e-3, nan_ok=True, abs=1e-3
    )
    assert np.isnan(first.values["logits/frobenius"]).all()
    assert np.isfinite(second.values["logits/frobenius"]).all()


def test_of_many_classes_the_most_probable_are_kept_with_the_samples_own(tmp_path: Path) -> None:
    J, logits = torch.randn(1, 100, 3, 6, 6), torch.arange(100.0)[None] / 10
    with SummaryWriter(str(tmp_path)) as writer:
        board.write(writer, 0, torch.rand(1, 3, 6, 6), J, logits, labels=[7], max_classes=5)
    (course,) = board.read(tmp_path).values()
    assert course.classes[0].tolist() == [7, 96, 97, 98, 99]
    p = logits.double().softmax(1)[0]
    maps = J.double()[0].sum(1)
    expected = (p.view(-1, 1, 1) * (maps - torch.tensordot(p, maps, 1)))[course.classes[0]].numpy()
    assert np.abs(course.jacobians["probs"][0] - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert course.probe.image.shape == (3, 6, 6)


def test_large_images_are_averaged_and_standardised_ones_keep_their_range(tmp_path: Path) -> None:
    images = torch.linspace(-2, 3, 168 * 84).reshape(1, 1, 168, 84)
    with SummaryWriter(str(tmp_path)) as writer:
        board.write(writer, 0, images, torch.ones(1, 2, 1, 168, 84), torch.zeros(1, 2), outputs=["logits"])
    (course,) = board.read(tmp_path).values()
    assert course.jacobians["logits"].shape == (1, 2, 84, 42)
    assert course.probe.pixel_range == pytest.approx((-2, 3), abs=0.1)
    assert course.probe.input_shape == (1, 168, 84)
    assert "probs" not in course.jacobians


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"J": torch.zeros(2, 3, 1, 4, 5)}, "do not fit each other"),
        ({"logits": torch.zeros(3)}, "do not fit each other"),
        ({"labels": [1]}, "1 labels were given, but there are 2 images"),
        ({"class_names": ["a"]}, "1 class_names were given, but there are 3"),
        ({"outputs": ["log_probs"]}, "allowed are"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, object], told: str
) -> None:
    fitting = {"images": torch.rand(2, 1, 4, 4), "J": torch.zeros(2, 3, 1, 4, 4), "logits": torch.zeros(2, 3)}
    with SummaryWriter(str(tmp_path)) as writer, pytest.raises(UserError, match=told):
        board.write(writer, 0, **{**fitting, **arguments})  # type: ignore[arg-type]
    assert board.read(tmp_path) == {}


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="There is no folder nowhere"):
        board.read("nowhere")


@pytest.mark.parametrize("change", ["format", "image", "values", "label", None])
def test_a_damaged_description_is_named(change: str | None) -> None:
    probe = Probe(1, 0, NAMES, ("logits",), (Value("a", "b"),), np.zeros((1, SIDE, SIDE), np.uint8), (0, 1), (1, 8, 8))
    content = json.loads(probe.to_json())
    assert Probe.from_json(json.dumps(content).encode()).class_names == NAMES
    if change is not None:
        content[change] = {"format": 99, "image": "AAA", "values": [1], "label": None}[change]
    damaged = json.dumps(content).encode() if change else b"\xff"
    with pytest.raises(FormatError):
        Probe.from_json(damaged)
