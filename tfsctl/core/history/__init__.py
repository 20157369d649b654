"""The history of a model: who changed which version or label, and when."""
