"""What is read from disk, and what is refused."""
