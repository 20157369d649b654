"""Model servers that run as a process of this machine: the binary and the embedded engine."""
