"""How requests become runs of a graph: coalesced into batches, in parallel calls, or alone."""
