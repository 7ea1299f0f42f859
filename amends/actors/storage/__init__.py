"""Where a system keeps what must outlive its process: the port's adapters."""
