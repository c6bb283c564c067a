"""AccModel of AccMPEG, in PyTorch."""
