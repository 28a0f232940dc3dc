"""The card: a verdict and everything that it rests on, for whoever reads it in the morning."""
