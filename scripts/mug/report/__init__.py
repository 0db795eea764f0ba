"""What an evaluation leaves behind to read."""
