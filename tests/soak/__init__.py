"""The soak: simulated histories and real trouble for as long as one likes; see `python -m tests.soak --help`."""
