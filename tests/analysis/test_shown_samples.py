"""The samples that the report shows: whichever they are in the end, they were kept on the way, and few others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jacoscope.analysis.arrays import as_npz, read_arrays
from jacoscope.analysis.network import CheckpointFile, NetworkSpec
from jacoscope.analysis.shown_samples import (
    OF_EACH_RANKING,
    RANKINGS,
    Candidates,
    explored,
    holds_shown_samples,
    kept_arrays,
    kept_beside,
    kept_samples,
    room_beside,
    room_in_explorer,
)
from jacoscope.analysis.summary import LISTED_COLUMNS, rankings
from jacoscope.jacobian_batch import of_output

SPEC = NetworkSpec(
    CheckpointFile(Path("best.ckpt"), None), {"images": {"classes": 10, "shape": [1, 28, 28]}}, (), is_unchanged=True
)


def columns_of(samples: int, seed: int, digits: int) -> dict[str, Tensor]:
    """Columns of a table; few digits make many equal values."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "label": torch.randint(0, 10, (samples,), generator=generator),
        "correct": torch.rand(samples, generator=generator) < 0.9,
        "finite": torch.rand(samples, generator=generator) < 0.97,
        "frobenius": torch.rand(samples, generator=generator).mul(10).round(decimals=digits),
        "confidence": torch.rand(samples, generator=generator).round(decimals=digits),
    }


def shown_in_the_end(spec: NetworkSpec, samples: int, columns: dict[str, Tensor]) -> set[int]:
    finite = columns["finite"].numpy()
    table = {name: np.zeros(samples) for name in LISTED_COLUMNS}
    table |= {name: values.numpy() for name, values in columns.items()} | {"index": np.arange(samples)}
    table = {name: values[finite] for name, values in table.items()}
    ranked = rankings(table)
    rows = pa.table({name: table[name] for name in ("index", "label", "correct")})
    chosen, beside = explored(spec, samples, ranked, rows), kept_beside(spec, samples, rows)
    assert len(set(beside)) == len(beside) <= room_beside(spec)
    assert len(chosen) <= room_in_explorer(spec)
    return {*chosen, *beside, *(row["index"] for name in RANKINGS for row in ranked[name][:OF_EACH_RANKING])}


@settings(max_examples=40)
@given(
    samples=st.integers(20, 3000),
    chunk_size=st.integers(1, 200),
    processes=st.integers(1, 3),
    seed=st.integers(0, 99),
    digits=st.sampled_from([1, 6]),
    height=st.sampled_from([28, 300]),
)
def test_what_is_shown_was_kept(
    samples: int, chunk_size: int, processes: int, seed: int, digits: int, height: int
) -> None:
    spec = replace(SPEC, config={"images": {"classes": 10, "shape": [1, height, height]}})
    columns = columns_of(samples, seed, digits)
    kept: set[int] = set()
    starts = list(range(0, samples, chunk_size))
    for rank in range(processes):
        candidates = Candidates(spec, samples)
        for start in starts[rank::processes]:
            indices = list(range(start, min(samples, start + chunk_size)))
            chunk = {name: values[indices] for name, values in columns.items()}
            kept |= {indices[place] for place in candidates.choose(indices, chunk)}
    assert shown_in_the_end(spec, samples, columns) <= kept


def test_of_many_samples_few_are_kept() -> None:
    columns, candidates, kept = columns_of(100_000, 0, 6), Candidates(SPEC, 100_000), 0
    for start in range(0, 100_000, 500):
        part = slice(start, start + 500)
        kept += len(candidates.choose(list(range(start, start + 500)), {k: v[part] for k, v in columns.items()}))
    assert kept < 2 * room_beside(SPEC)


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_maps_come_back_as_they_were(tmp_path: Path, output: str) -> None:
    x, J, logits = torch.rand(5, 1, 28, 28), torch.randn(5, 10, 1, 28, 28), torch.randn(5, 10)
    labels = torch.arange(5)
    arrays = kept_arrays([1, 3, 4], [10, 11, 12, 13, 14], x, labels, of_output(J, logits, output), logits)
    (tmp_path / "shown.npz").write_bytes(as_npz(arrays))
    assert holds_shown_samples(tmp_path / "shown.npz", SPEC)
    assert not holds_shown_samples(
        tmp_path / "shown.npz", replace(SPEC, config={"images": {"classes": 3, "shape": [1, 28, 28]}})
    )
    read = {name: torch.from_numpy(values) for name, values in read_arrays(tmp_path / "shown.npz").items()}
    first, *others = kept_samples(read, {13: "evenly spread"})
    assert (first.index, first.why) == (13, "evenly spread")
    assert [(sample.index, sample.why) for sample in others] == [(11, ""), (14, "")]
    p = logits[3].double().softmax(0)
    expected = J[3].double().sum(1)
    if output == "probs":
        expected = p.view(-1, 1, 1) * (expected - (p.view(-1, 1, 1) * expected).sum(0))
    assert torch.equal(first.image, x[3])
    assert first.probabilities == pytest.approx(p.tolist(), rel=1e-5)
    torch.testing.assert_close(first.values.double(), expected, rtol=0, atol=float(expected.abs().max()) / 30_000)


def test_the_true_class_has_a_map_however_improbable_it_is() -> None:
    J, logits = torch.randn(2, 30, 1, 4, 4), torch.arange(30.0).repeat(2, 1)
    arrays = kept_arrays([0, 1], [0, 1], torch.rand(2, 1, 4, 4), torch.tensor([3, 25]), J, logits)
    assert arrays["classes"].tolist() == [[3, *range(21, 30)], list(range(20, 30))]
    (first, _) = kept_samples(arrays, {})
    torch.testing.assert_close(first.values[0], J[0, 3, 0], rtol=0, atol=float(J.abs().max()) / 30_000)


def test_a_chunk_without_a_candidate_keeps_nothing(tmp_path: Path) -> None:
    x, J = torch.rand(1, 1, 28, 28), torch.randn(1, 10, 1, 28, 28)
    arrays = kept_arrays([], [5], x, torch.tensor([3]), J, torch.randn(1, 10))
    (tmp_path / "none.npz").write_bytes(as_npz(arrays))
    assert holds_shown_samples(tmp_path / "none.npz", SPEC)
    assert list(kept_samples(arrays, {})) == []
