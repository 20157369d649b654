"""Recordings of live requests: made by the embedded server or a proxy, compared with training data, and replayed."""
