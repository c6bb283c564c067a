"""Threads, processes, a Ray cluster, and the executors that choose between them."""
