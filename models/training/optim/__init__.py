"""Optimizers, losses and objectives."""
