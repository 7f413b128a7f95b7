"""Forward passes: images in, responses out, by kernel or by unit."""
