"""report.html: the analysis as one file that a person enjoys reading and can send to a colleague."""

from jacoscope.analysis.report.page import write_report as write_report
