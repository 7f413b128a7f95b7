"""Networks: built from the config or by a library, filled from checkpoints, read by layer."""
