"""Fixtures and markers of foliosim for the tests beside this file."""
pytest_plugins = ["foliosim.testing.pytest_plugin"]
