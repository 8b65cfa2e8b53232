"""mapadmin: one command for the people who run a DataJoint pipeline in production."""

__version__ = "0.1.0"
