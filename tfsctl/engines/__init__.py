"""How a model server is started, watched and stopped, and which ones run: Docker, the real binary, our own server."""
