"""`cleanup figures`: unused files of external stores, and what does not go together."""
