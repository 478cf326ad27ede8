"""Many runs of one command: started side by side, survived, gone on with."""
