"""Predictions for any number of rows: batches sent at the same time, sized for the highest throughput."""
