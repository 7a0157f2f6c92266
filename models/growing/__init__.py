"""Growing: deeper models whose layers are copies, given by an index list."""

from __future__ import annotations

from . import operators as operators  # registers them
