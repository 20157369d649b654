"""Writers of results: the formats of output files, and what keeps an interrupted run and its input safe."""
