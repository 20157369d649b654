"""Other programs and processes: start, watch and stop them. Only this package uses `subprocess`."""
