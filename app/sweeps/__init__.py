"""A sweep's parent run, and the report of all its jobs."""
