"""The gate's statistics: metrics, intervals, tests and e-values. Pure: numpy and scipy at most."""
