"""A whole site on one machine, with nothing configured: for newcomers and for the tests."""
