"""The built-in street of the demo: its scene, its detector and its upscaler."""
