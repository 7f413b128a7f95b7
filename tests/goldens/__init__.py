"""What the program found, kept to be found again: commands, what is kept of each, comparison.

Everything goes through the command line and the files and runs that it leaves.
`python -m tests.goldens` writes `data/` anew.
"""
