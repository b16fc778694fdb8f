"""What is being written and is not saved as a post yet, and links that show it to others for a while."""
