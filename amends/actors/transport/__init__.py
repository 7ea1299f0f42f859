"""How a command reaches a service, and an answer its saga: the port's adapters."""
