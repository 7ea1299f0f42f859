"""For operators: programs that run services and sagas, and what a journal tells, read beside a system or after it."""
