"""Whole protocols: a plan of cells, run and reported."""
