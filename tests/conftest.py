"""Shared fixtures. Nothing here reaches the network."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # side by side: threads of one would wait for the other's
    os.environ.setdefault("OMP_NUM_THREADS", "1")
