"""Work is done once: keys that derive themselves, storage, locks, pruning."""
