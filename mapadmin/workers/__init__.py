"""The pipeline's workers: what they did, what they left undone."""
