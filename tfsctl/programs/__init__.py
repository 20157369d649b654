"""Other programs, processes and ports of this machine. Only this package uses `subprocess`."""
