"""The DAG, retry and scheduling core. Knows no Hydra, no Ray, no MLflow, no web."""
