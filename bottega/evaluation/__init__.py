"""Perplexity, bits per byte, rankings."""
