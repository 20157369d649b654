"""Other programs and processes: started, watched and stopped. The only door to `subprocess`."""
