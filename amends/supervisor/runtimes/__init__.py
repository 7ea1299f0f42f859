"""The runtimes of a running program; the simulated one stands in `amends.testing`."""
