"""Known connection errors: why no server answered, in the words of gRPC, OpenSSL, curl and Python."""

from __future__ import annotations

from tfsctl.diagnosis.known_error import KnownError

CONNECTION_ERRORS = (
    KnownError(
        r"CERTIFICATE_VERIFY_FAILED: (?:self.signed certificate|unable to get (?:local )?issuer).{0,40}|"
        r"(?i:certificate verify failed: (?:self.signed certificate|unable to get (?:local )?issuer).{0,40})",
        "the server's certificate was signed by an authority that is not known here",
        "--ca FILE names that authority's certificate",
    ),
    KnownError(
        r"(?i:hostname mismatch|hostname verification check failed|ip address mismatch|certificate is not valid for|peer name \S+ is not in peer)",
        "the server's certificate is for another name than the one it was asked by",
        "ask by a name of the certificate: --host NAME",
    ),
    KnownError(
        r"(?i:certificate has expired|certificate is not yet valid)",
        "the server's certificate is out of date, or the clock of one of the machines is wrong",
        "renew the certificate; `date` tells the time here",
    ),
    KnownError(
        r"(?i:certificate.required|sslv3 alert bad certificate|tlsv1\S* alert unknown ca|alert_unknown_ca)",
        "the server wants a certificate from its clients, of an authority it knows",
        "--cert FILE and --key FILE show one",
    ),
    KnownError(
        r"(?i:wrong.version.number|record layer failure|packet length too long|no shared cipher|unsupported protocol)",
        "the server does not speak TLS on that port",
        "leave out --tls (in a URL write http://)",
    ),
    KnownError(
        r"(?i:name or service not known|no address associated with hostname|could not resolve host|nodename nor servname|"
        r"temporary failure in name resolution|DNS resolution failed|domain name not found)",
        "no address is known for that host name",
        "look at the spelling of --host; `getent hosts NAME` asks this machine",
    ),
    KnownError(
        r"(?i:connection refused|couldn't connect to server)",
        "nobody listens on that port",
        "is it running? tfsctl serve PATH starts a server; tfsctl ps lists those that run",
    ),
    KnownError(
        r"(?i:no route to host|network is unreachable|host is unreachable)",
        "the network has no way to that host",
        "look at --host, and at VPNs and firewalls between",
    ),
    KnownError(
        r"415 Unsupported Media Type, without TensorFlow Serving's words",
        "that is a gRPC port, and the request was sent over REST",
        "add --grpc, or give the REST port: --port PORT",
    ),
    KnownError(
        r"[Rr]eceived http2 header with status: 404",
        "that port speaks HTTP and knows no gRPC services: it is the REST port, or a gateway",
        "remove --grpc, or give the gRPC port: --port PORT",
    ),
    KnownError(
        r"(?i:transport closed|transport is closing)",
        "the connection was closed before the answer: the server ended, or that is a REST port and the client speaks gRPC",
        "tfsctl ps shows whether the server runs, and which port is gRPC's",
    ),
    KnownError(
        r"Failed parsing HTTP/2|Trying to connect an http1\.x server|Received HTTP/0\.9|illegal status line",
        "the other side speaks another protocol: one of the ports is REST's, the other gRPC's",
        "that does not look like the right port; for a gRPC port add --grpc, for a REST port leave it out",
    ),
    KnownError(
        r"(?i:socket closed|connection reset by peer|server disconnected without sending|empty reply from server)",
        "the other side ended the connection at once: it wants TLS, a certificate, or another protocol",
        "if it speaks TLS add --tls (and --cert FILE if it wants to know you); if it is a gRPC port add --grpc",
    ),
    KnownError(
        r"Method not found!|unknown service tensorflow\.serving",
        "a gRPC server answered, but it knows nothing of TensorFlow Serving",
        "is this a TensorFlow Serving gRPC port?",
    ),
    KnownError(
        r"407 Proxy Authentication Required",
        "the proxy wants a name and a password",
        "--proxy http://NAME:PASSWORD@HOST:PORT",
    ),
    KnownError(
        r"no connection within",
        "the host did not take the connection in time: it is away, or something on the way drops what is sent",
        "look at --host and --port; --connect-timeout and --timeout SECONDS wait longer",
    ),
    KnownError(
        r"504 Gateway Time-?out",
        "a gateway gave up before the model had answered",
        "raise the time it allows, ask with fewer rows, or go past it with --host",
    ),
    KnownError(
        r"50[23] (?:Bad Gateway|Service (?:Temporarily )?Unavailable)|upstream connect error",
        "a gateway answered, and reached no server behind it",
        "tfsctl wait NAME --host HOST asks the server itself; look at the gateway's own log, too",
    ),
    KnownError(
        r"too_many_pings|ENHANCE_YOUR_CALM",
        "the connection was kept alive with more pings than the server takes",
        "ask for fewer: a longer --keepalive, 300 seconds by gRPC's own default",
    ),
    KnownError(
        r"(?i:deadline.exceeded)",
        "the answer did not come before the deadline that the call itself had",
        "--timeout SECONDS waits longer",
    ),
    KnownError(
        r"failed to connect to all addresses",
        "no address of that host gave a connection",
        "is it running? tfsctl serve PATH starts a server; tfsctl ps lists those that run",
    ),
    KnownError(
        r"\b(?:401 Unauthorized|403 Forbidden|UNAUTHENTICATED|PERMISSION_DENIED)\b",
        "a gateway before the server wants to know who asks",
        "--header-env 'authorization=Bearer TOKEN' sends the token in the variable TOKEN",
    ),
    KnownError(
        r"(?i:<title>\s*404 Not Found\s*</title>)",
        "that is no path of TensorFlow Serving's, which all begin with /v1/models/",
        "POST /v1/models/NAME:predict asks a model; tfsctl predict --show curl prints a request that works",
    ),
    KnownError(
        r"[Rr]eceived http2 header with status: \d+|without TensorFlow Serving's words",
        "something else than TensorFlow Serving answered: a gateway with another path, or another service",
        "look at --port, and at the path of --url",
    ),
)
