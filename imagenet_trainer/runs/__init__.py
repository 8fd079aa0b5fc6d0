"""A run on disk: the names of its files, checkpoints, parameters, history, logs and events.

Nothing here trains, evaluates or draws.
"""
