"""Comparisons with peers, in one run and as ratios: `make bench`."""
