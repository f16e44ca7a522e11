"""The parts that models share: attention, positions, norms, losses, the KV cache's contract, the sampling rule."""
