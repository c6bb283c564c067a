"""Threads, processes and executors."""
