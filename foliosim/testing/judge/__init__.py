"""Judges from outside: processor emulators and forensic tools walk dumped page tables, and must agree with `walk`.

``python -m foliosim.testing.judge`` makes random machines and asks about a million addresses on each architecture.
"""
