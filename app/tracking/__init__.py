"""MLflow, and how a run's record reaches it."""
