"""Comparing database, Kafka and chain; what is missing or wrong, by height, with its way out."""
