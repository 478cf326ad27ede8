"""Heatmaps, sheets, charts and figures of Jacobians: tensors in, pictures out.

Import from the files: pages (:mod:`jacoscope.pages`) read ``visuals.colors`` without loading torch and matplotlib.
"""
