"""Who did what: the audit page, read from the history that the database keeps anyway."""
