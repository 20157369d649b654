"""Warmup requests: chosen, checked and written to `assets.extra/tf_serving_warmup_requests`."""
