"""HTML pages that need no network: one base template, one style, one script, one look of all charts."""

from jacoscope.pages.charts import LIGHT as LIGHT
from jacoscope.pages.charts import band as band
from jacoscope.pages.charts import figure as figure
from jacoscope.pages.charts import named as named
from jacoscope.pages.charts import plain as plain
from jacoscope.pages.charts import shortened as shortened
from jacoscope.pages.render import as_json as as_json
from jacoscope.pages.render import load_template as load_template
from jacoscope.pages.render import render as render
