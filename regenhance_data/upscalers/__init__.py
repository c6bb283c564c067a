"""Upscalers: settings, arguments, one table of kinds, and a module for each kind."""
