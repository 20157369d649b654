"""Recordings of requests: TFRecord files of PredictionLog messages, in order and as rows."""
