"""Feed-forward chains: the attributions of all outputs as one matrix product."""
