"""Jobs without a database: which blocks, in which order, in which stripes."""
