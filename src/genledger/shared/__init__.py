"""Files that several processes share: who may read them, whose turn it is, and what if one is damaged."""
