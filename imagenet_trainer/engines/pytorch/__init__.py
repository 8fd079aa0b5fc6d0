"""Room pytorch."""
