"""The callback that watches the Jacobian of a classifier while it trains: see README.md for what each file does."""
