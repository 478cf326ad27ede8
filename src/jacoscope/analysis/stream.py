"""Many samples, part by part: compute, reduce, write, forget. Memory does not grow with the number of samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes
from torch.utils.data import Dataset

from jacoscope.analysis.origin import Origin
from jacoscope.analysis.parts import Parts
from jacoscope.analysis.store import rounded_chunk
from jacoscope.analysis.subject import Subject
from jacoscope.data.datamodule import to_pixels
from jacoscope.errors import UserError

CHUNK_BYTES = 1 << 28  # of Jacobians held at a time


@dataclass(frozen=True)
class Where:
    """Where to compute: ``accelerator`` as Lightning names it, and processes, each with a device of its own."""

    accelerator: str = "cpu"
    processes: int = 1

    def device(self, rank: int) -> torch.device:
        """Give the device of a process."""
        return torch.device("cuda", rank) if self.on_gpus else torch.device("cpu")

    @property
    def on_gpus(self) -> bool:
        return self.accelerator in ("gpu", "cuda") or (self.accelerator == "auto" and torch.cuda.is_available())

    def check(self) -> None:
        """See that the devices are there.

        Raises:
            UserError: if there are fewer.
        """
        there = torch.cuda.device_count()
        if self.on_gpus and self.processes > there:
            raise UserError(
                f"trainer.accelerator={self.accelerator} trainer.devices={self.processes}: this machine has {there} "
                "GPUs; name fewer, or type trainer.accelerator=cpu"
            )


@dataclass(frozen=True)
class Work(ABC):
    """What is to be made of many samples, part by part; small enough to send to another process.

    Attributes:
        origins: of the networks.
        split: of the first network's data.
        samples: how many, from the start.
        chunk_size: how many make a part.
        folder: for the parts.
    """

    origins: tuple[Origin, ...]
    split: str
    samples: int
    chunk_size: int
    folder: Path

    @abstractmethod
    def make(self, subjects: Sequence[Subject], indices: list[int]) -> tuple[pa.Table, dict[str, Tensor]]:
        """Make a part.

        Args:
            subjects: what ``origins`` describe, each on the device that is to compute.
            indices: of the samples in the split.

        Returns:
            Its rows, and what is to be added up over all parts.
        """

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """The columns of the rows."""

    @property
    def parts(self) -> Parts:
        return Parts(self.folder, self.samples, self.chunk_size)


def stream(work: Work, subjects: Sequence[Subject], where: Where, progress: Callable[[int], None]) -> None:
    """Make the parts that are missing.

    Args:
        work: what is to be done.
        subjects: what its ``origins`` describe, for what this process does itself.
        where: to compute.
        progress: called with the number of samples that are done.

    Raises:
        UserError: if it cannot be done, in another process too; the parts that are done are kept.
    """
    work.parts.discard_damaged(work.schema)
    missing = work.parts.missing()
    progress(_done(work, missing))
    if where.processes == 1 or len(missing) <= 1:
        _make_parts(work, subjects, missing, where.device(0), progress)
        return
    told: Any = get_context("spawn").SimpleQueue()
    threads = max(1, torch.get_num_threads() // where.processes)
    context: Any = start_processes(  # type: ignore[no-untyped-call]
        _worker, (work, missing, where, threads, told), nprocs=where.processes, join=False, start_method="spawn"
    )
    try:
        while not context.join(timeout=0.2):
            progress(_done(work, work.parts.missing()))
    except (ProcessRaisedException, ProcessExitedException) as error:
        raise UserError(told.get() if not told.empty() else f"A process failed.\n{error}") from error
    finally:
        for process in context.processes:
            if process.is_alive():
                process.terminate()


def chunk_size_for(images: dict[str, Any], wanted: int) -> int:
    """Give how many samples make a part: as many as wanted, fewer where their Jacobians are large.

    >>> chunk_size_for({"shape": [1, 28, 28], "classes": 10}, 512)
    512
    >>> chunk_size_for({"shape": [3, 224, 224], "classes": 1000}, 512)
    1
    """
    of_one = 4 * images["classes"] * torch.Size(images["shape"]).numel()
    return rounded_chunk(max(1, min(wanted, CHUNK_BYTES // of_one)))


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


def checked_labels(labels: Tensor, classes: int, indices: list[int]) -> Tensor:
    """Give the labels back.

    Raises:
        UserError: if the network has no such class.
    """
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise UserError(
            f"sample {indices[first]} has the label {int(labels[first])}, "
            f"but the network has classes 0 to {classes - 1}"
        )
    return labels


def as_table(values: dict[str, Tensor], schema: pa.Schema) -> pa.Table:
    """Make a table of tensors by the names of its columns, ``[rows]`` or ``[rows, entries of a list]``.

    Columns that may be null are so where the column ``finite`` is false.
    """
    arrays = []
    for field in schema:
        column = values[field.name]
        missing = ~values["finite"].numpy() if field.nullable else None
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(column.contiguous().flatten().numpy(), type=field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size, mask=pa.array(missing)))
        else:
            arrays.append(pa.array(column.numpy(), mask=missing).cast(field.type))
    return pa.table(arrays, schema=schema)


def _make_parts(
    work: Work, subjects: Sequence[Subject], which: list[int], device: torch.device, progress: Callable[[int], None]
) -> None:
    there = [subject.on(device) for subject in subjects]
    done = _done(work, which)
    written: Future[None] | None = None
    with ThreadPoolExecutor(1) as disk:  # it is waited for while the next part is computed
        for part in which:
            made = work.make(there, list(work.parts.range(part)))
            if written is not None:
                written.result()
            written = disk.submit(work.parts.write, part, *made)
            done += len(made[0])
            progress(done)
    if written is not None:
        written.result()


def _worker(rank: int, work: Work, missing: list[int], where: Where, threads: int, told: Any) -> None:
    torch.set_num_threads(threads)
    try:
        subjects = [Subject.of(origin) for origin in work.origins]
        _make_parts(work, subjects, missing[rank :: where.processes], where.device(rank), lambda _: None)
    except UserError as error:
        told.put(str(error))  # an exception crosses over only as the text of its traceback
        raise SystemExit(1) from error


def _done(work: Work, missing: list[int]) -> int:
    return work.samples - sum(len(work.parts.range(part)) for part in missing)
