"""Globus: listings, transfers, access, and whether the archive holds what the database says."""
