"""Sequential tests that decide during a rollout whether the canary is worse than the stable version."""
