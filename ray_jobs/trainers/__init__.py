"""How models are fitted: one trainer for each family of estimators."""
