"""Removing somebody: what is theirs, what hangs on them, and the order that cannot go wrong."""
