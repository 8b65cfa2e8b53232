"""What DataJoint leaves in the database: jobs and stores, read by SQL alone."""
