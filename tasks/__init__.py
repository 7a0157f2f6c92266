"""Evaluation tasks: the primitives as lm-eval tasks, and a command that scores models on them.

``PATH`` is the folder for ``lm_eval --include_path``. Importing this loads neither torch
nor lm-eval.
"""

from __future__ import annotations

from .catalog import GROUPS, PATH, Entry, entries, resolve

__all__ = ["GROUPS", "PATH", "Entry", "entries", "resolve"]
