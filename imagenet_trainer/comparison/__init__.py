"""A comparison of networks: who takes part, their trainings, measures, judgement and report."""
