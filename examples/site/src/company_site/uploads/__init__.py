"""Images that members upload."""
