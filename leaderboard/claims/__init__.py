"""Test the paper's claims against the records."""
