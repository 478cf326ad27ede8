"""Many samples, part by part: compute, reduce, write, forget. Memory does not grow with the number of samples.

Each part is kept on the disk until all are done, so that an interrupted analysis continues with the first missing one.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from math import prod
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig
from torch import Tensor

from jacoscope.analysis.arrays import DAMAGED, as_npz, read_arrays, rounded_chunk
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork
from jacoscope.analysis.tables import as_parquet, holds_table
from jacoscope.errors import UserError
from jacoscope.files import replacement, write_whole

CHUNK_BYTES = 1 << 28
"""Bytes of Jacobians that are in memory at a time."""
ROW_GROUP = 1 << 14
"""Rows of a table that are compressed together, at least."""


@dataclass(frozen=True)
class Devices:
    """Where to compute: ``accelerator`` as Lightning names it, and processes, each with a device of its own."""

    accelerator: str = "cpu"
    processes: int = 1

    @classmethod
    def from_config(cls, trainer: DictConfig) -> "Devices":
        """Read the devices from a trainer's config: ``trainer=ddp`` shares the samples between processes.

        Raises:
            UserError: if the number of processes is not a number, or there are fewer devices.
        """
        count = trainer.devices if str(trainer.get("strategy", "auto")).startswith("ddp") else 1
        if not isinstance(count, int) or count < 1:
            raise UserError(f"trainer.devices={count}: type the number of processes, trainer.devices=2")
        devices = cls(trainer.accelerator, count)
        available = torch.cuda.device_count()
        if devices.on_gpus and count > available:
            raise UserError(
                f"trainer.accelerator={trainer.accelerator} trainer.devices={count}: this machine has {available} "
                "GPUs; name fewer, or type trainer.accelerator=cpu"
            )
        return devices

    @property
    def on_gpus(self) -> bool:
        return self.accelerator in ("gpu", "cuda") or (self.accelerator == "auto" and torch.cuda.is_available())

    def device(self, rank: int) -> torch.device:
        """Return the device of a process."""
        return torch.device("cuda", rank) if self.on_gpus else torch.device("cpu")


class Part(NamedTuple):
    """The results for some consecutive samples."""

    rows: pa.Table
    """With a column ``index``."""
    sums: Mapping[str, Tensor]
    """Arrays that are added over all parts."""
    kept: Mapping[str, Tensor]
    """Arrays whose rows are some of the samples; with an array ``index``."""


class Parts:
    """The parts of an analysis in a folder; each is complete or absent.

    Args:
        folder: of the parts.
        samples: how many there are in all.
        chunk_size: how many make a part.
    """

    def __init__(self, folder: Path, samples: int, chunk_size: int) -> None:
        self.folder = folder
        self.samples = samples
        self.chunk_size = chunk_size

    def __len__(self) -> int:
        return -(-self.samples // self.chunk_size)

    def range(self, part: int) -> range:
        """Return the samples of a part."""
        return range(part * self.chunk_size, min(self.samples, (part + 1) * self.chunk_size))

    def missing(self) -> list[int]:
        """Return the parts that are still to be made."""
        return [part for part in range(len(self)) if not self._table(part).exists()]

    def count_done(self) -> int:
        """Return the number of samples whose parts are there."""
        return self.samples - sum(len(self.range(part)) for part in self.missing())

    def discard_damaged(self, schema: pa.Schema) -> None:
        """Delete parts that are not as they were written.

        Args:
            schema: of their tables.
        """
        for part in set(range(len(self))) - set(self.missing()):
            count = len(self.range(part))
            try:
                read_arrays(self._arrays(part))
                is_whole = holds_table(self._table(part), schema, range(count, count + 1))
            except DAMAGED:
                is_whole = False
            if not is_whole:
                self._table(part).unlink()

    def write(self, number: int, part: Part) -> None:
        """Write a part; its table last, since the table marks the part as done.

        Raises:
            UserError: if the folder cannot be written or the disk is full.
        """
        arrays = {f"{kind}/{k}": v for kind in ("sums", "kept") for k, v in getattr(part, kind).items()}
        write_whole(self._arrays(number), as_npz(arrays))
        write_whole(self._table(number), as_parquet(part.rows))

    def arrays(self, kind: str) -> Iterator[dict[str, Tensor]]:
        """Read the ``sums`` or the ``kept`` arrays of each part, in the order of the samples."""
        for part in range(len(self)):
            arrays = read_arrays(self._arrays(part))
            start = f"{kind}/"
            yield {k.removeprefix(start): torch.from_numpy(v) for k, v in arrays.items() if k.startswith(start)}

    def sums(self) -> dict[str, Tensor]:
        """Add the sums of all parts; nothing where none were written.

        Raises:
            UserError: if the parts do not belong together.
        """
        total: dict[str, Tensor] = {}
        for number, sums in enumerate(self.arrays("sums")):
            if number and {k: v.shape for k, v in sums.items()} != {k: v.shape for k, v in total.items()}:
                raise self._foreign()
            total = {name: total[name] + values if number else values for name, values in sums.items()}
        return total

    def kept(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Collect the kept arrays of some samples, in the order of the samples, as far as they were kept."""
        wanted = torch.tensor(sorted(indices))
        chosen = [
            {name: values[torch.isin(kept["index"], wanted)] for name, values in kept.items()}
            for kept in self.arrays("kept")
        ]
        return {name: torch.cat([kept[name] for kept in chosen]) for name in chosen[0]}

    def merge(self, path: Path, schema: pa.Schema) -> None:
        """Write all tables as one file, with one row group at a time in memory.

        Raises:
            UserError: if a sample is missing or occurs twice, or the file cannot be written.
        """
        expected = 0
        waiting: list[pa.Table] = []
        # Real numbers hardly repeat: dictionaries of them would take twice the time and more space.
        options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
        with replacement(path) as new, pq.ParquetWriter(new, schema, **options) as writer:
            for part in range(len(self)):
                table = pq.read_table(self._table(part))
                if table["index"].to_pylist() != list(range(expected, expected + len(table))):
                    raise self._foreign()
                expected += len(table)
                waiting.append(table.cast(schema))
                if sum(map(len, waiting)) >= ROW_GROUP or expected == self.samples:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting.clear()
            if expected != self.samples:
                raise self._foreign()

    def clear(self) -> None:
        """Delete all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _foreign(self) -> UserError:
        return UserError(f"{self.folder} holds parts of another analysis: delete it and call again")

    def _table(self, part: int) -> Path:
        return self.folder / f"{part:06d}.parquet"

    def _arrays(self, part: int) -> Path:
        return self.folder / f"{part:06d}.npz"


@dataclass(frozen=True)
class Work(ABC):
    """What is to be computed of many samples, part by part; small enough to be sent to another process.

    Attributes:
        specs: of the networks.
        split: of the first network's data.
        samples: how many, from the start.
        chunk_size: how many make a part.
        folder: for the parts.
        output: whose Jacobian is computed.
        strategy: of :func:`jacoscope.jacobians.jacobian`.
    """

    specs: tuple[NetworkSpec, ...]
    split: str
    samples: int
    chunk_size: int
    folder: Path
    output: str
    strategy: str

    @abstractmethod
    def make(self, networks: Sequence[TrainedNetwork], indices: list[int]) -> Part:
        """Make a part.

        Args:
            networks: built from ``specs``, on the device that is to compute.
            indices: of the samples in the split.
        """

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """The columns of the rows."""

    @property
    def parts(self) -> Parts:
        return Parts(self.folder, self.samples, self.chunk_size)


def stream(work: Work, networks: Sequence[TrainedNetwork], devices: Devices, progress: Callable[[int], None]) -> None:
    """Make the parts that are missing.

    Args:
        work: what is to be done.
        networks: built from its ``specs``, for what this process does itself.
        devices: where to compute.
        progress: called with the number of samples that are done.

    Raises:
        UserError: if it cannot be done, in another process too; the parts that are done are kept.
    """
    work.parts.discard_damaged(work.schema)
    missing = work.parts.missing()
    progress(work.parts.count_done())
    if devices.processes == 1 or len(missing) <= 1:
        _make_parts(work, networks, missing, devices.device(0), progress)
        return
    context = get_context("spawn")
    ranks: Any = context.Queue()
    for rank in range(devices.processes):
        ranks.put(rank)
    arguments = (work, devices, max(1, torch.get_num_threads() // devices.processes), ranks)
    with ProcessPoolExecutor(devices.processes, context, _start_worker, arguments) as pool:
        try:
            for future in as_completed([pool.submit(_make_in_worker, number) for number in missing]):
                future.result()
                progress(work.parts.count_done())
        except BrokenProcessPool as error:
            raise UserError(
                f"A process was killed: {error}\nType the command again, with fewer processes, to continue"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def chunk_size_for(spec: NetworkSpec, wanted: int) -> int:
    """Return how many samples make a part: as many as wanted, fewer where their Jacobians are large."""
    return fitting_chunk(4 * spec.classes * prod(spec.shape), wanted)


def fitting_chunk(bytes_of_one: int, wanted: int) -> int:
    """Return how many Jacobians of a size are computed at a time.

    >>> fitting_chunk(4 * 10 * 28 * 28, 512), fitting_chunk(4 * 1000 * 3 * 224 * 224, 512)
    (512, 1)
    """
    return rounded_chunk(max(1, min(wanted, CHUNK_BYTES // bytes_of_one)))


def _make_parts(
    work: Work,
    networks: Sequence[TrainedNetwork],
    which: list[int],
    device: torch.device,
    progress: Callable[[int], None],
) -> None:
    there = [network.on(device) for network in networks]
    done = work.samples - sum(len(work.parts.range(number)) for number in which)
    written: Future[None] | None = None
    with ThreadPoolExecutor(1) as disk:  # a part is written while the next one is computed
        for number in which:
            part = work.make(there, list(work.parts.range(number)))
            if written is not None:
                written.result()
            written = disk.submit(work.parts.write, number, part)
            done += len(part.rows)
            progress(done)
    if written is not None:
        written.result()


@dataclass
class _Worker:
    """What a process of :func:`stream` works on."""

    work: Work
    device: torch.device
    networks: list[TrainedNetwork]


_worker: _Worker | None = None


def _start_worker(work: Work, devices: Devices, threads: int, ranks: Any) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = _Worker(work, devices.device(ranks.get()), [])


def _make_in_worker(number: int) -> None:
    assert _worker is not None
    if not _worker.networks:
        _worker.networks = [TrainedNetwork.load(spec).on(_worker.device) for spec in _worker.work.specs]
    parts = _worker.work.parts
    parts.write(number, _worker.work.make(_worker.networks, list(parts.range(number))))
