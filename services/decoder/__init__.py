"""Fetches, proves and decodes blocks: work item in, DecodedBlock out."""
