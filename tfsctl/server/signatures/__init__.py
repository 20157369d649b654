"""How requests use signatures: which tensors they feed and fetch, and how outputs become results."""
