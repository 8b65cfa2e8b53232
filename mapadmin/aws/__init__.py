"""AWS: the site's RDS instance, EC2 server and buckets."""
