"""Instruments that studies share."""
