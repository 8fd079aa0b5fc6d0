"""MXNet's engine: Module, kvstore, parameter servers, and their update rules.

Only this package calls MXNet to run a symbol. It does not import PyTorch.
"""
