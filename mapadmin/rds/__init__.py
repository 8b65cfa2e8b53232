"""What takes both the database server and the API of RDS: neither's folder knows the other."""
