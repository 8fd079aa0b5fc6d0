"""Room convert."""
