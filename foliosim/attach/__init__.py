"""X-ray of running processes: their state in a machine, and what would happen if they did something."""
