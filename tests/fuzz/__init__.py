"""Mutated answers of nodes and mutated records, fed to the code that reads them."""
