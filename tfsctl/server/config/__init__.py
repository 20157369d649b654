"""The command line of the model server, and the files that its flags name."""
