"""Every speed that the README states, measured beside what it cannot beat: `python -m benchmarks`."""
