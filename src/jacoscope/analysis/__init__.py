"""Answer questions about the Jacobians of a trained network: tables, arrays, figures, a report.

``answer.py`` finds the networks and passes the question on. Each kind of question is one file that reads from top to
bottom, load → measure → write → show: ``sample.py`` (single samples), ``image.py`` (pictures of the user's own),
``split.py``, ``compare.py``, ``compare_robustness.py`` and ``history.py``. What they share:

- ``question.py``: the command line, checked; ``network.py``: a checkpoint with its network and its data
- ``streaming.py``: many samples part by part, in several processes; ``reduction.py``: from Jacobians to rows and maps
- ``tables.py``, ``arrays.py``: Parquet files, NumPy and Zarr files; ``folder.py``: what an answer consists of
- ``summary.py``: statistics of a table; ``attack.py``: how far another decision really is
- ``robustness/``: accuracy under noise, attacks and corruptions; ``robustness_curves.py``: of one network or several
- ``shown_samples.py``: the samples that the report shows; ``report/``: the pages
- ``figures.py``, ``terminal.py``: what people see
"""
