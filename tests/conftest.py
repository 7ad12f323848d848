"""Fixtures of the package for all tests."""
pytest_plugins = ["foliosim.testing.pytest_plugin"]
