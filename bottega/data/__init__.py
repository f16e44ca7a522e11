"""Documents, splits, token shards, mixtures."""
