"""Run directories and their records, sweeps, tables of runs, and the frame around the entry scripts."""
