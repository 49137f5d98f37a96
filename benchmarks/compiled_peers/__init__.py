"""The nets of `benchmarks.compiled` as its peers train them: the same arithmetic from the same numbers."""
