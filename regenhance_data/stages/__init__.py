"""One module for each command of tools/ that makes a part of the dataset."""
