"""What the commands that query a model share."""
