"""The request log (`logging_config` of a model): sampled requests as PredictionLog messages in TFRecord files."""
