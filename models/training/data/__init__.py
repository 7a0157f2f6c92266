"""What a model trains on: shards, mixtures, curricula, examples."""
