"""Bytes in, bytes out: files, images, video, and the readers of what is not trusted."""
