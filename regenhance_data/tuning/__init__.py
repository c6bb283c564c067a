"""Upscalers that are trained for one detector, on the originals of a dataset."""
