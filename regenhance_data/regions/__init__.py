"""Macroblock arithmetic in NumPy: selection, coverage, composites, overlays, reuse."""
