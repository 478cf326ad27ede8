"""One picture in the terminal: the prediction, a compact view of J, what would change the decision."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jacoscope.analysis.single import Reading, decision_in_words, strongest_pixels
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
        _labelled(
            "J",
            f"{rows}×{columns}, J[i, k] = ∂ {reading.output} k / ∂ pixel i; "
            f"Frobenius norm {float(frobenius_norm(J)):.4g}, spectral {float(spectral_norm(J)):.4g}, "
            f"effective rank {float(effective_rank(J)):.2f}",
        )
    )
    console.print()
    console.print(_table(reading, class_names))
    console.print()
    console.print(_labelled("decision", decision_in_words(reading, class_names)))


def _labelled(label: str, text: str) -> Table:
    """A text whose lines begin below each other, behind its label."""
    grid = Table.grid()
    grid.add_column(width=12)
    grid.add_column()
    grid.add_row(label, escape(text))
    return grid


def _table(reading: Reading, class_names: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("class")
    table.add_column("prob.", justify="right")
    table.add_column("‖∂‖₂", justify="right")
    table.add_column("strongest pixels\n(row, column)", min_width=17)
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
