"""Fixtures for every test, and how hypothesis runs here."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.stack", "tests.support.deployment", "tests.support.command_line"]

# The time of one example says more about what else the machine does than about the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("here")
