"""Feed-forward chains: the attributions of all outputs as one product of matrices."""
