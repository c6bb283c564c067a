"""Accuracy of the detector when only a share of the macroblocks is enhanced."""
