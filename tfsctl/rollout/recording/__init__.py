"""Recordings of live requests: made by a server that tfsctl started, compared with training data, sent again."""
