"""The blog: reading, writing, history."""
