"""The library behind deploy/benchmark.py."""
