"""From a chunk of Jacobians to a row of numbers for each sample, and to sums of maps for each class."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.tables import columns
from jacoscope.errors import UserError
from jacoscope.jacobian_batch import PIECE_ENTRIES, JacobianBatch, Workspace
from jacoscope.jacobians import JacobianError, jacobian


def logits_jacobian(network: TrainedNetwork, x: Tensor, strategy: str) -> tuple[Tensor, Tensor]:
    """Compute the Jacobians of the logits on the network's device.

    Args:
        network: the network.
        x: images, ``[batch, C, H, W]``, pixels in [0, 1].
        strategy: of :func:`jacoscope.jacobians.jacobian`.

    Returns:
        The Jacobians, ``[batch, classes, C, H, W]``, and the logits, ``[batch, classes]``, both on the CPU. They may
        be NaN or infinite.

    Raises:
        UserError: if the network has no such Jacobians.
    """
    try:
        J, logits = jacobian(
            network.module,
            x.to(network.device),
            "logits",
            strategy=strategy,
            return_outputs=True,
            check_finite=False,
        )
    except JacobianError as error:
        raise UserError(f"{network.spec.checkpoint.path}: {error}") from error
    return J.cpu(), logits.cpu()


@dataclass(frozen=True)
class MapSums:
    """Sums of maps over samples, for each true class; divided by the counts they are mean maps.

    Attributes:
        count: samples, ``[classes]``.
        image: of the images, ``[classes, C, H, W]``.
        own: of the true class's derivative, J[label].
        own_magnitude: of its absolute value.
        sensitivity: of the root mean square over outputs.
    """

    count: Tensor
    image: Tensor
    own: Tensor
    own_magnitude: Tensor
    sensitivity: Tensor

    @classmethod
    def zero(cls, classes: int, shape: tuple[int, ...]) -> "MapSums":
        """Return the sums over no samples, in float64, so that millions of samples can be added."""
        maps = [torch.zeros(classes, *shape, dtype=torch.float64) for _ in range(4)]
        return cls(torch.zeros(classes, dtype=torch.int64), *maps)

    def add(self, x: Tensor, labels: Tensor, own: Tensor, sensitivity: Tensor, finite: Tensor) -> None:
        """Add samples.

        Args:
            x: images, ``[batch, C, H, W]``.
            labels: true classes, ``[batch]``.
            own: derivatives of the true classes, J[label], ``[batch, C, H, W]``.
            sensitivity: root mean square of J over the outputs, ``[batch, C, H, W]``.
            finite: which samples are added, ``[batch]``; the others' Jacobians are not finite.
        """
        whole = bool(finite.all())

        def add_to(total: Tensor, values: Tensor) -> None:
            precise = values.double()
            total.index_add_(0, labels, precise if whole else precise.where(finite.view(-1, 1, 1, 1), 0.0))

        self.count.index_add_(0, labels, finite.long())
        add_to(self.image, x)
        add_to(self.own, own)
        add_to(self.own_magnitude, own.abs())
        add_to(self.sensitivity, sensitivity)

    def arrays(self) -> dict[str, Tensor]:
        """Return the sums by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Reduced(NamedTuple):
    """What is kept of a chunk of samples."""

    rows: dict[str, Tensor]
    """The columns by name, all but ``index``."""
    J: Tensor
    """Jacobians of the output, ``[batch, outputs, C, H, W]``."""
    logits: Tensor
    """``[batch, classes]``."""
    sums: dict[str, Tensor]
    """Those of :class:`MapSums`; none where the maps are too large to be kept."""


class Reduction:
    """Computes Jacobians and reduces them. It keeps its working memory from one chunk to the next.

    Args:
        output: the output whose Jacobian the rows describe.
        strategy: of :func:`jacoscope.jacobians.jacobian`.
    """

    def __init__(self, output: str, strategy: str) -> None:
        self.output = output
        self.strategy = strategy
        self._workspace = Workspace()
        # The numbers of classes and of singular values say only how long the lists are: 1 and 1 do.
        self._computed = {column.name: column.compute for column in columns(1, 1, output) if column.compute}

    def __call__(self, network: TrainedNetwork, x: Tensor, labels: Tensor) -> Reduced:
        """Reduce a chunk, a piece at a time.

        Where a sample's Jacobian or logits are not finite, the column ``finite`` is false, its other columns mean
        nothing, and nothing is added to the sums.

        Args:
            network: the network.
            x: images, ``[batch, C, H, W]``.
            labels: true classes, ``[batch]``.

        Raises:
            UserError: if the network has no such Jacobians.
        """
        J, logits = logits_jacobian(network, x, self.strategy)
        sums = MapSums.zero(network.spec.classes, network.spec.shape) if network.spec.keeps_maps else None
        step = max(1, PIECE_ENTRIES // J[0].numel())
        rows: list[dict[str, Tensor]] = []
        outputs: list[Tensor] = []
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            batch = JacobianBatch(x[part], J[part], logits[part], labels[part], self._workspace).of(self.output)
            rows.append({name: compute(batch) for name, compute in self._computed.items()})
            outputs.append(batch.J)
            if sums is not None:
                own = batch.J[torch.arange(len(batch.J)), labels[part]]
                squares = batch.magnitudes.square_()  # in place: no column of the piece is computed after this
                sums.add(x[part], labels[part], own, squares.mean(1).sqrt_().view_as(own), batch.finite)
        return Reduced(
            {name: torch.cat([row[name] for row in rows]) for name in self._computed},
            J if self.output == "logits" else torch.cat(outputs),
            logits,
            {} if sums is None else sums.arrays(),
        )
