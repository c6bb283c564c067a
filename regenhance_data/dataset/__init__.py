"""The dataset folder and its file formats."""
