"""Benchmarks: ours and the peers side by side in one run. They agree on the result before they are timed."""
