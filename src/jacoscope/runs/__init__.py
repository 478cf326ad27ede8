"""Run directories, their records, and the frame around the entry scripts."""
