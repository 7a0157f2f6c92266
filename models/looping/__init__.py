"""Looping: one block of unique layers run several times, by an index list."""
