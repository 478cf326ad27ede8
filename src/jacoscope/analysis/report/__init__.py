"""report.html: the analysis of a split as one file, to read and to send to a colleague."""

from jacoscope.analysis.report.explorer import BESIDE as BESIDE
from jacoscope.analysis.report.page import write_report as write_report
from jacoscope.analysis.report.robustness import robustness_section as robustness_section
from jacoscope.analysis.report.samples import Sample as Sample
