"""A/B tests: the requests of both arms as Envoy logs them, and their results with and without outcomes."""
