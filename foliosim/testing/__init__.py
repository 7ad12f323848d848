"""Helpers for tests that use foliosim: folio shapes, a byte oracle, a hypothesis state machine, pytest fixtures.

``foliosim.testing.pytest_plugin`` gives the fixtures ``machine``, ``process`` and ``folio_shape``; name it in
``pytest_plugins`` of a top-level conftest.py.
"""
