"""The options of the commands, each defined once."""
