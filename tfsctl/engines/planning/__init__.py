"""From the options of `tfsctl serve` to a running server."""
