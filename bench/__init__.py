"""Speed claims, side by side with their peers: `python -m bench NAME [--json FILE]`."""
