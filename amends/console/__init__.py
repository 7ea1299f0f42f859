"""For operators: what a system's journal tells, read beside the system or after it."""
