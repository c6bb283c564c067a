"""Macroblock arithmetic in NumPy: selection, rectangles, atlas, cache, coverage, composites, overlays, reuse."""
