"""Benchmarks of the package beside its peers; `make bench` runs them all."""
