"""Schemas dumped into files that are loaded and compared before anything is dropped."""
