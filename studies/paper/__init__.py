"""One file a study of the paper."""
