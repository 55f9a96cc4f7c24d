"""The real handlers, decisions and loops on ports in memory, under faults that a seed chooses."""
