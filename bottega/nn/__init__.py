"""The parts that models share: attention, positions, losses, the KV cache's contract, the sampling rule."""
