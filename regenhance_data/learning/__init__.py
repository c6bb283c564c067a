"""What the trainings of small networks in PyTorch share: the loop, and the network of upscalers."""
