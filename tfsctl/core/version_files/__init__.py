"""The files of one version besides `saved_model.pb`: manifest, blessings, fingerprint, warmup requests, hashes."""
