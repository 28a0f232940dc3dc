"""The gate over simulated years: `make bench-gate`."""
