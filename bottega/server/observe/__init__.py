"""What the server tells about itself: metrics, logs, the state of its engines."""
