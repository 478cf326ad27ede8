"""Runs side by side: the table in the terminal, its export, and the page ``sweep.html``."""

from jacoscope.comparison.terminal import show_sweep as show_sweep
