"""Speed, measured side by side with the alternatives, and reported as a ratio."""
