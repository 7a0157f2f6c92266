"""Studies of the paper, one file each."""
