"""Traces from what users have: the text of perf script, and of strace."""
