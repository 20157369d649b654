"""HTTP/1.1 and HTTP/2: the transport between the server's sockets and the application."""
