"""Scorer of lm-eval requests: one trie of tokens, run pack by pack."""
