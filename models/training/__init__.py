"""Training: token shards, mixtures, run files, and the loop that never loses work."""
