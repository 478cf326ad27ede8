"""One run: its config, its directory and its record.

==============  =====================================================================================================
``config``      check a composed config
``build``       build the network, the loss and everything else that a config describes
``keys``        keys that nothing reads, and keys that were misspelt on the command line
``ranges``      the range of each number, in one table
``targets``     whether each ``_target_`` exists, takes its keys with values of their types, and is trusted
``directory``   the folder of a run: its name, its checkpoints, and the record that is kept while it trains
``extension``   train a finished run on, to more epochs
``result``      ``result.json``: config, status, metrics, versions; the differences between two configs
``records``     read JSON files that others may have written
``lock``        one process at a time in a folder
``processes``   several processes of one training, and of a sweep: if one ends, the others do not wait for it
``evaluation``  the metrics of a finished training
``new_folders`` folders of a refused command are removed; where new ones are is printed
``terminal``    what train.py shows at the end
==============  =====================================================================================================

``python -m jacoscope.runs FOLDER`` shows the runs below a folder.
"""
