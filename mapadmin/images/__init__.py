"""Images that are built from one commit of a repository each, and carry it as a label."""
