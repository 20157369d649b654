"""What the server does, once for both APIs."""
