"""Python functions that do what a command does: `export`, `compare`, labels, recordings, rollouts and shadows."""
