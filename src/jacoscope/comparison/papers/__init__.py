"""What papers report, as data: a YAML file for each experiment that repeats one, with the experiment's name."""
