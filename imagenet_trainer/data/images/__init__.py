"""Room pictures."""
