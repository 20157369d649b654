"""`--show` and `--dry-run`: print a request, instead of sending it, for curl, HTTPie, Python or grpcurl."""
