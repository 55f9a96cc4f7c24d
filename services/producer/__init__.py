"""Publishes block numbers as work items."""
