"""Command line ``growloop``. Nothing heavier than click is imported until a command runs."""

from .main import main

__all__ = ["main"]
