"""Command-line options that several commands share: their names, help texts, variables and the values they become."""
