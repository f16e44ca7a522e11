"""What the server remembers: objects, keys and usage in a database, the contents of files beside it."""

from bottega.server.store.place import open_state
from bottega.server.store.store import Store

__all__ = ["Store", "open_state"]
