"""What the performance figures come from, and the demonstration."""
