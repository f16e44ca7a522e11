"""From the body of a chat request to its answer."""
