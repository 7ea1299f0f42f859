"""The five order systems: the same engine and services, five sagas, five ways in and out."""
