"""Who agreed, who signs, and what a file says of how it was made."""
