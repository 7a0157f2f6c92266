"""Growing: deeper models whose layers are copies, by an index list."""
