"""Search for the layers worth repeating, skipping or swapping (``growloop scan``).

Candidates race on validation items; the winner is reported on test items that chose nothing.
"""
