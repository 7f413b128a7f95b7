"""What the program costs: `python -m tests.benchmarks` times it and prints a table.

Each thing is measured beside the plain way to the same result and beside the least that it could
cost, in turn and in one run, so that ratios hold on any machine.
"""
