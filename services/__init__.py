"""The long-running processes; none imports another."""
