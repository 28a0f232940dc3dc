"""Checks of the data before training: config, what they found, and how they run."""
