"""Macroblock importance: the formulas and the frames they compare."""
