"""Room previews."""
