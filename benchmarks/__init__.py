"""Every speed that the README states, beside what it cannot beat: `python -m benchmarks`."""
