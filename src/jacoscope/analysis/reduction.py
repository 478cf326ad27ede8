"""A chunk of Jacobians, reduced: a row of numbers for each sample, and sums of maps for each class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jacoscope.analysis.derivatives import of_output

PIECE_ENTRIES = 1 << 20  # Jacobian entries reduced at a time: what stays in the cache is read once from memory


@dataclass(frozen=True)
class MapSums:
    """Sums over samples, for each true class; divided by the counts they are mean maps.

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
        """Give the sums over nothing; in float64, so that millions of samples add up."""
        maps = [torch.zeros(classes, *shape, dtype=torch.float64) for _ in range(4)]
        return cls(torch.zeros(classes, dtype=torch.int64), *maps)

    def add(self, x: Tensor, labels: Tensor, own: Tensor, sensitivity: Tensor, finite: Tensor) -> None:
        """Add a piece.

        Args:
            x: images, ``[batch, C, H, W]``.
            labels: their true classes, ``[batch]``.
            own: derivatives of these classes, J[label], ``[batch, C, H, W]``.
            sensitivity: root mean square of J over the outputs, ``[batch, C, H, W]``.
            finite: which samples count, ``[batch]``; the others' Jacobians are not finite.
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
        """Give the sums by their names."""
        return {name: getattr(self, name) for name in ("count", "image", "own", "own_magnitude", "sensitivity")}


class Reduction:
    """Reduces chunks of Jacobians, all of one shape.

    It keeps the memory that it works in: pages fresh from the system cost a sixth of the time.

    Args:
        output: what the norms are of.
    """

    def __init__(self, output: str) -> None:
        self.output = output
        self._precise = torch.empty(0, dtype=torch.float64)
        self._magnitudes = torch.empty(0)

    def __call__(
        self, x: Tensor, labels: Tensor, J: Tensor, logits: Tensor, sums: MapSums | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        r"""Reduce a chunk.

        Jacobians are read from memory once, a piece at a time. Almost all columns follow from the Gram matrix of a
        sample's gradients, :math:`G = J J^\top`, formed in float64, where products of float32 are exact: the singular
        values are the roots of its eigenvalues, the Frobenius norm that of its trace, and
        :math:`\|\nabla (z_y - z_j)\|^2 = G_{yy} + G_{jj} - 2 G_{yj}`. The trace also tells whether all entries of J
        are finite. Where they or the logits are not, the column ``finite`` says so, the other columns mean nothing,
        and nothing is added to the maps.

        Args:
            x: images, ``[batch, C, H, W]``.
            labels: their classes, ``[batch]``.
            J: Jacobians of the logits, ``[batch, classes, C, H, W]``.
            logits: ``[batch, classes]``.
            sums: that the chunk's maps are added to, if maps are wanted.

        Returns:
            The columns by their names (all but ``index``), and the Jacobians of ``output``.
        """
        step = max(1, PIECE_ENTRIES // J[0].numel())
        names = ("gram", "gram_of_logits", "finite", "l1_operator", "linf_operator")
        pieces: dict[str, list[Tensor]] = {name: [] for name in names}
        outputs = []
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            wanted = of_output(J[part], logits[part], self.output)
            grams = [self._gram(wanted)]
            if self.output != "logits":
                grams.append(self._gram(J[part]))
                outputs.append(wanted)
            finite = logits[part].isfinite().all(1)
            for gram in grams:
                finite &= gram.diagonal(dim1=1, dim2=2).sum(1).isfinite()
            for name, gram in zip(("gram", "gram_of_logits"), grams, strict=False):
                pieces[name].append(gram.where(finite.view(-1, 1, 1), 0.0))  # eigenvalues of NaN are an error
            pieces["finite"].append(finite)
            magnitudes = self._magnitudes_of(wanted)
            pieces["l1_operator"].append(magnitudes.sum(1).amax(1))
            pieces["linf_operator"].append(magnitudes.sum(2).amax(1))
            if sums is not None:
                own = wanted[torch.arange(len(wanted)), labels[part]]
                sensitivity = magnitudes.square_().mean(1).sqrt_().view_as(own)
                sums.add(x[part], labels[part], own, sensitivity, finite)
        joined = {name: torch.cat(tensors) for name, tensors in pieces.items() if tensors}
        gram = joined.pop("gram")
        distance, nearest = _boundary(joined.pop("gram_of_logits", gram), logits)
        columns = {**_of_logits(logits, labels), **_of_gram(gram, J[0, 0].numel()), **joined}
        columns |= {"boundary_distance": distance, "nearest_class": nearest}
        return columns, torch.cat(outputs) if outputs else J

    def _gram(self, J: Tensor) -> Tensor:
        """``[batch, classes, classes]``, in float64; features come first there, for which BLAS is twice as fast."""
        columns = J.flatten(2).mT
        self._precise = _with_room(self._precise, columns)
        precise = self._precise[: len(J)].copy_(columns)
        return torch.bmm(precise.mT, precise)

    def _magnitudes_of(self, J: Tensor) -> Tensor:
        """``[batch, classes, features]``, good until the next piece."""
        rows = J.flatten(2)
        self._magnitudes = _with_room(self._magnitudes, rows)
        return torch.abs(rows, out=self._magnitudes[: len(J)])


def _with_room(memory: Tensor, values: Tensor) -> Tensor:
    """The same memory if a piece fits into it, else memory as large as the piece."""
    fits = memory.shape[1:] == values.shape[1:] and len(memory) >= len(values)
    return memory if fits else memory.new_empty(values.shape)


def _of_logits(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    probabilities = logits.softmax(1)
    confidence, prediction = probabilities.max(1)
    best = logits.topk(2, dim=1).values
    return {
        "label": labels,
        "prediction": prediction,
        "correct": prediction == labels,
        "confidence": confidence,
        "label_probability": probabilities.gather(1, labels.unsqueeze(1)).squeeze(1),
        "margin": best[:, 0] - best[:, 1],
        "logits": logits,
    }


def _of_gram(gram: Tensor, features: int) -> dict[str, Tensor]:
    s = torch.linalg.eigvalsh(gram).clamp_(min=0).sqrt_().flip(1)[:, :features]
    spectral, nuclear = s[:, 0], s.sum(1)
    q = s / nuclear.where(nuclear > 0, torch.ones_like(nuclear)).unsqueeze(1)
    share = s / spectral.where(spectral > 0, torch.ones_like(spectral)).unsqueeze(1)
    squares = gram.diagonal(dim1=1, dim2=2)
    columns = {
        "frobenius": squares.sum(1).sqrt(),
        "spectral": spectral,
        "nuclear": nuclear,
        "stable_rank": share.square().sum(1),
        "effective_rank": torch.special.entr(q).sum(1).exp() * (nuclear > 0),
        "output_norms": squares.sqrt(),
        "singular_values": s,
    }
    return {name: values.float() for name, values in columns.items()}


def _boundary(gram: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    r"""First-order distance to the decision boundary and the class behind it, as
    :func:`jacoscope.jacobians.boundary_distance` gives them from J.
    """
    y = logits.argmax(1, keepdim=True)
    squares = gram.diagonal(dim1=1, dim2=2)
    row = gram.gather(1, y.unsqueeze(2).expand(-1, 1, gram.shape[2])).squeeze(1)
    slopes = (squares.gather(1, y) + squares - 2 * row).clamp(min=0).sqrt()
    # What is left of the largest gradient after rounding is no slope.
    slopes = slopes.where(slopes > 1e-7 * squares.amax(1, keepdim=True).sqrt(), torch.zeros_like(slopes))
    margins = logits.gather(1, y).double() - logits
    distances = (margins / slopes).where(slopes > 0, torch.full_like(slopes, torch.inf)).scatter(1, y, torch.inf)
    distance, nearest = distances.min(1)
    runner_up = logits.scatter(1, y, -torch.inf).argmax(1)
    return distance.float(), runner_up.where(distance.isinf(), nearest)
