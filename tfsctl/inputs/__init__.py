"""What a person typed or stored in a file, converted to input arrays."""
