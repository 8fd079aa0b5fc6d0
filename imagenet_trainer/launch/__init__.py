"""Workers, servers and a scheduler on one machine or many, started, watched and ended together."""
