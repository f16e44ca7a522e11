"""One file a system, reading like its paper."""
