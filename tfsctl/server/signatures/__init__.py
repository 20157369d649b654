"""What a request asks of a signature, and how outputs become an answer."""
