"""Helpers for tests that use foliosim.

``foliosim.testing.pytest_plugin`` gives the fixtures ``machine``, ``process``, ``arch`` and ``folio_shape``; name it in
``pytest_plugins`` of a top-level conftest.py.  `strategies` has hypothesis strategies for addresses and scripts of
operations, `shapes` the folio shapes, `oracle` and `stateful` a model of who sees which bytes, and a state machine that
compares it with the emulator.
"""
