"""Reports on latent units: whether they are used, what drives them, what they do, what they stand for."""
