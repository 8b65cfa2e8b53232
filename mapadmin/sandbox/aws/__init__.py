"""The sandbox's AWS: moto in a process of its own, with recorded answers for what moto lacks."""
