"""The user's model behind four methods: reconstruct, encode, decode, latent_distribution."""
