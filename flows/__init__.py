"""The DAG, retry and scheduling core, and the flows that run on it."""
