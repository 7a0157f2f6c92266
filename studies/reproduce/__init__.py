"""Whole protocols: the reproduction of the paper at a scale, and the quick start."""
