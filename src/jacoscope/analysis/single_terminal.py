"""One picture in the terminal: the prediction, a compact view of J, what would change the decision."""

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jacoscope.analysis.single import Reading, strongest_pixels
from jacoscope.jacobians import effective_rank, frobenius_norm, output_norms, spectral_norm


def show_reading(console: Console, reading: Reading, class_names: list[str]) -> None:
    """Print what the network says of a picture and how that depends on the pixels."""
    name = escape(class_names[reading.prediction])
    verdict = f"{name} with probability {reading.probabilities[reading.prediction]:.2%}"
    if reading.label is not None:
        right = reading.label == reading.prediction
        verdict += ", right" if right else f", wrong: it is a {escape(class_names[reading.label])}"
    console.print(f"\n[bold]{escape(reading.title)}[/]", highlight=False)
    console.print(f"prediction  [bold]{verdict}[/]", highlight=False)
    J = reading.J.unsqueeze(0)
    rows, columns = reading.matrix.shape
    console.print(
        f"J           {rows}×{columns}, J\\[i, k] = ∂ {reading.output} k / ∂ pixel i; "
        f"Frobenius norm {float(frobenius_norm(J)):.4g}, spectral {float(spectral_norm(J)):.4g}, "
        f"effective rank {float(effective_rank(J)):.2f}\n",
        highlight=False,
    )
    console.print(_table(reading, class_names))
    console.print(f"\n{_decision(reading, class_names)}", highlight=False, markup=False)


def _table(reading: Reading, class_names: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("class")
    table.add_column("prob.", justify="right")
    table.add_column("‖∂‖₂", justify="right")
    table.add_column("strongest pixels (row, column)", min_width=17)
    table.add_column()
    table.add_column()
    norms = output_norms(reading.J.unsqueeze(0))[0]
    channels, height, width = reading.pixels.shape
    for k, entries in enumerate(strongest_pixels(reading.matrix, (channels, height, width), 3)):
        places = [
            f"({','.join(str(e[key]) for key in ('channel', 'row', 'column') if key in e)}) {e['value']:+.2g}"
            for e in entries
        ]
        cells = (escape(class_names[k]), f"{float(reading.probabilities[k]):.2g}", f"{float(norms[k]):.2g}")
        table.add_row(*cells, *places, style="bold" if k == reading.prediction else None)
    return table


def _decision(reading: Reading, class_names: list[str]) -> str:
    distance, found = float(reading.boundary.distance), float(reading.crossing.distance)
    now, then = class_names[reading.prediction], class_names[int(reading.boundary.nearest)]
    if math.isinf(distance):
        return "decision    no small change of the pixels would turn it: to first order, nothing depends on them"
    text = f"decision    to first order, a change of L2 length {distance:.3g} turns {now} into {then}; "
    if math.isinf(found):
        return text + f"in the network, no change up to {8 * distance:.3g} in that direction does"
    outcome = class_names[int(reading.crossing.prediction)]
    return text + f"in the network it takes {found:.3g} in that direction, and then it says {outcome}"
