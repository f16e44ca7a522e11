"""Whole jobs, and the presets."""
