"""Comparison of networks: candidates, their trainings and measurements, the analysis, the report.

Processes that train or measure a network are started here. Training itself belongs to train/,
inference to eval/, page frame and plot style to viz/.
"""
