"""Accounts and grants on the site's MySQL or MariaDB server."""
