"""Batches: requests from a file, answered in the background."""
