"""JupyterHub: its users, their servers, and what it tells them."""
