"""Which units of a vision network are category-selective, and how far four metrics agree on it."""

__version__ = "0.1.0"
