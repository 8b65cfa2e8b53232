"""Taking over what is on a server already, as it is."""
