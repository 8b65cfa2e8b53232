"""Tests of `mapadmin aws` and `mapadmin db params`."""
