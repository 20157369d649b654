"""The behaviour of the server, shared by both APIs."""
