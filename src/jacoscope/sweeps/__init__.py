"""Many runs of one command: launched, continued after a crash, and searched."""
