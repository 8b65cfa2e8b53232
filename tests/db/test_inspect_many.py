"""Roles, odd names, settings and orphans as `inspect` tells them; its cost for many accounts."""
