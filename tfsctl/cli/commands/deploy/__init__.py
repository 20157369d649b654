"""Commands that write what another tool deploys: images and Compose files."""
