"""Serving a decoder; knows no training, no HTTP."""
