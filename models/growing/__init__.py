"""Growing: deeper models whose layers are copies, given by an index list."""
