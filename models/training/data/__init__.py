"""Training data: shards, mixtures, curricula, examples."""
