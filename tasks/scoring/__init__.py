"""The scorer: requests as one trie of tokens, run pack by pack."""
