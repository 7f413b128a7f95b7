"""Figures: arrays in, drawings out."""
