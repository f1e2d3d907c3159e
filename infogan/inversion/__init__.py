"""Inversion: the latents of an image of one's own, so that G can draw it and its codes can be changed."""
