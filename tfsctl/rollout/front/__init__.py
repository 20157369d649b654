"""A front: Envoy as a reverse proxy on the public ports, two model servers behind it, and rollouts between them."""
