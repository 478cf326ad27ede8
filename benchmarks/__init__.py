"""Speed, measured side by side with the alternatives in one process, and told as a ratio."""
