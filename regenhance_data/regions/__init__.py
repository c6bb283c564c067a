"""The mathematics of macroblocks, in NumPy: selection, composites, overlays, reuse."""
