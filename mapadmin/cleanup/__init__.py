"""What cron runs every night: old jobs, unused figures, outdated results, the trash."""
