"""The forms a model comes in, each turned into endpoints to export."""
