"""What every subsystem stands on: plan, checks, journal, lock, secret, report, errors."""
