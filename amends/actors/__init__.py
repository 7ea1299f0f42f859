"""Who acts: saga instances, services, the journal, timers, the coordinator, and the system that holds them."""
