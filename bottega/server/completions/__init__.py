"""From the body of a completions request to its answer."""
