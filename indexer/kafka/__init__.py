"""Kafka at the edge: clients turned into the ports of the pipeline."""
