"""A whole split, chunk by chunk: compute, reduce, write, forget. Memory does not grow with the number of samples."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException, start_processes
from torch.utils.data import Dataset

from jacoscope.analysis.parts import Parts
from jacoscope.analysis.reduction import MAP_ENTRIES, MapSums, reduce_chunk
from jacoscope.analysis.schema import Column, columns
from jacoscope.analysis.single import jacobian_of
from jacoscope.analysis.store import JacobianStore
from jacoscope.analysis.subject import Origin, Subject
from jacoscope.data.datamodule import to_pixels
from jacoscope.errors import UserError


@dataclass(frozen=True)
class Plan:
    """What is to be streamed where; small enough to send to another process.

    Attributes:
        origin: of the network and the data.
        split: which samples.
        output: what the norms are of.
        samples: how many, from the start.
        chunk_size: how many at a time.
        folder: for the parts.
        store: for the full Jacobians, if they are wanted.
    """

    origin: Origin
    split: str
    output: str
    samples: int
    chunk_size: int
    folder: Path
    store: JacobianStore | None

    @property
    def parts(self) -> Parts:
        return Parts(self.folder, self.samples, self.chunk_size)

    @property
    def columns(self) -> list[Column]:
        """The columns of the table."""
        images = self.origin.config["images"]
        features = images["shape"][0] * images["shape"][1] * images["shape"][2]
        return columns(images["classes"], min(images["classes"], features), self.output)


def stream(plan: Plan, subject: Subject, accelerator: str, devices: int, progress: Callable[[int], None]) -> None:
    """Make the missing parts of a plan.

    Args:
        plan: what is to be done.
        subject: the plan's network and data, for the work that this process does itself.
        accelerator: as Lightning names it: ``auto``, ``cpu``, ``gpu``.
        devices: processes to share the parts between, each with a device of its own.
        progress: called with the number of samples that are done.
    """
    missing = plan.parts.missing()
    done = plan.samples - sum(len(plan.parts.range(part)) for part in missing)
    progress(done)
    if devices == 1 or len(missing) <= 1:
        _make_parts(plan, subject, missing, _device(accelerator, 0), lambda samples: progress(done + samples))
        return
    threads = max(1, (os.cpu_count() or devices) // devices)
    arguments = (plan, missing, devices, accelerator, threads)
    context: Any = start_processes(  # type: ignore[no-untyped-call]
        _worker, arguments, nprocs=devices, join=False, start_method="spawn"
    )
    try:
        while not context.join(timeout=0.2):
            progress(plan.samples - sum(len(plan.parts.range(part)) for part in plan.parts.missing()))
    except ProcessRaisedException as error:
        raise UserError(f"A process failed; what is done is kept, call again to go on.\n{error}") from error
    finally:
        for process in context.processes:
            if process.is_alive():
                process.terminate()


def read_samples(dataset: Dataset[Any], indices: list[int]) -> tuple[Tensor, Tensor]:
    """Read samples as pixels in [0, 1], ``[batch, C, H, W]``, and classes."""
    many = getattr(dataset, "__getitems__", None)
    images, labels = many(indices) if many else (None, None)
    if not isinstance(images, Tensor):
        pairs = [dataset[index] for index in indices]
        images = torch.stack([torch.as_tensor(image) for image, _ in pairs])
        labels = torch.tensor([int(label) for _, label in pairs])
    assert isinstance(labels, Tensor)
    return (images if images.is_floating_point() else to_pixels(images)), labels.long()


def _worker(rank: int, plan: Plan, missing: list[int], devices: int, accelerator: str, threads: int) -> None:
    torch.set_num_threads(threads)
    _make_parts(plan, plan.origin.subject(), missing[rank::devices], _device(accelerator, rank), lambda _: None)


def _make_parts(
    plan: Plan, subject: Subject, which: list[int], device: torch.device, progress: Callable[[int], None]
) -> None:
    dataset = subject.split(plan.split)
    network = subject.on(device)
    images = subject.origin.config["images"]
    wants_maps = images["classes"] * torch.Size(images["shape"]).numel() <= MAP_ENTRIES
    schema = pa.schema([(column.name, column.kind) for column in plan.columns])
    done = 0
    for part in which:
        indices = list(plan.parts.range(part))
        x, labels = read_samples(dataset, indices)
        _check_labels(labels, images["classes"], indices)
        J, logits = (tensor.cpu() for tensor in jacobian_of(network, x.to(device)))
        sums = MapSums.zero(images["classes"], tuple(images["shape"])) if wants_maps else None
        reduced, wanted = reduce_chunk(x, labels, J, logits, plan.output, sums)
        if plan.store is not None:
            plan.store.write(indices[0], wanted)
        plan.parts.write(part, _table({"index": torch.tensor(indices), **reduced}, schema), sums)
        done += len(indices)
        progress(done)


def _table(values: dict[str, Tensor], schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        column = values[field.name]
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(column.contiguous().flatten().numpy(), type=field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
        else:
            arrays.append(pa.array(column.numpy()).cast(field.type))
    return pa.table(arrays, schema=schema)


def _check_labels(labels: Tensor, classes: int, indices: list[int]) -> None:
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise UserError(
            f"sample {indices[first]} has the label {int(labels[first])}, "
            f"but the network has classes 0 to {classes - 1}"
        )


def _device(accelerator: str, rank: int) -> torch.device:
    wants_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    if not wants_gpu:
        return torch.device("cpu")
    if rank >= torch.cuda.device_count():
        raise UserError(
            f"trainer.accelerator={accelerator}: there are {torch.cuda.device_count()} GPUs; type trainer=cpu"
        )
    return torch.device("cuda", rank)
