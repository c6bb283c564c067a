"""Macroblock importance: the formulas."""
