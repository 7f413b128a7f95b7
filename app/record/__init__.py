"""What is kept of a run: stored intermediate results, the tracking store, figures and tables."""
