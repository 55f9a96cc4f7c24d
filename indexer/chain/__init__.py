"""What a chain's data must look like: parsing a node's answers, and proving a block genuine. Pure: no I/O."""
