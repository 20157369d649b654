"""Commands that write what other tools deploy: container images and Compose files."""
