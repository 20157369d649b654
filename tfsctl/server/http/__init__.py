"""HTTP/1.1 and HTTP/2 on the server's sockets: what stands between them and the application."""
