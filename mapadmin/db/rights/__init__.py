"""What an account may do: patterns, precedence, roles, partial revokes, as the servers see them."""
