"""Accuracy under noise, attacks and corruptions.

``settings.py`` says which are asked for, ``perturbations.py`` what each of them is. ``table.py`` measures samples,
``summary.py`` makes curves of the table, ``figure.py`` draws them.
"""
