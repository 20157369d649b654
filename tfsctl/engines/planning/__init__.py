"""From the options of `tfsctl serve` to a server that answers."""
