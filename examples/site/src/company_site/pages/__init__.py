"""The pages that are not posts, and the health of the process."""
