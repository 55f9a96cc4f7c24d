"""Fixtures for every test."""

pytest_plugins = ["tests.support.stack", "tests.support.deployment", "tests.support.command_line"]
