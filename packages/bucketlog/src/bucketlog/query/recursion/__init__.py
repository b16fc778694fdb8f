"""Recursive rules: evaluated before the statement of their query, which reads what they give as tables."""
