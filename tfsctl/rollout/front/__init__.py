"""The front: Envoy on the public ports, before two embedded servers of the same models, and its rollouts."""
