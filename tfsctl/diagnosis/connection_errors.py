"""Known errors of a connection: why nobody answered, in the words of gRPC, OpenSSL, curl and Python alike."""

from __future__ import annotations

from tfsctl.diagnosis.explanations import Known

CONNECTION_ERRORS = (
    Known(
        r"CERTIFICATE_VERIFY_FAILED: (?:self.signed certificate|unable to get (?:local )?issuer).{0,40}|"
        r"(?i:certificate verify failed: (?:self.signed certificate|unable to get (?:local )?issuer).{0,40})",
        "the server's certificate was signed by an authority that is not known here",
        "--ca FILE names that authority's certificate",
    ),
    Known(
        r"(?i:hostname mismatch|hostname verification check failed|ip address mismatch|certificate is not valid for|peer name \S+ is not in peer)",
        "the server's certificate is for another name than the one it was asked by",
        "ask by a name of the certificate: --host NAME",
    ),
    Known(
        r"(?i:certificate has expired|certificate is not yet valid)",
        "the server's certificate is out of date, or the clock of one of the machines is wrong",
        "renew the certificate; `date` tells the time here",
    ),
    Known(
        r"(?i:certificate.required|sslv3 alert bad certificate|tlsv1\S* alert unknown ca|alert_unknown_ca)",
        "the server wants a certificate from its clients, of an authority it knows",
        "--cert FILE and --key FILE show one",
    ),
    Known(
        r"(?i:wrong.version.number|record layer failure|packet length too long|no shared cipher|unsupported protocol)",
        "the server does not speak TLS on that port",
        "leave out --tls (in a URL write http://)",
    ),
    Known(
        r"(?i:name or service not known|no address associated with hostname|could not resolve host|nodename nor servname|"
        r"temporary failure in name resolution|DNS resolution failed|domain name not found)",
        "no address is known for that host name",
        "look at the spelling of --host; `getent hosts NAME` asks this machine",
    ),
    Known(
        r"(?i:connection refused|couldn't connect to server)",
        "nobody listens on that port",
        "is it running? tfsctl serve PATH starts a server; tfsctl ps lists those that run",
    ),
    Known(
        r"(?i:no route to host|network is unreachable|host is unreachable)",
        "the network has no way to that host",
        "look at --host, and at VPNs and firewalls between",
    ),
    Known(
        r"Failed parsing HTTP/2|Trying to connect an http1\.x server|Received HTTP/0\.9|illegal status line",
        "the other side speaks another protocol: one of the ports is REST's, the other gRPC's",
        "that does not look like the right port; for a gRPC port add --grpc, for a REST port leave it out",
    ),
    Known(
        r"(?i:socket closed|connection reset by peer|server disconnected without sending|empty reply from server)",
        "the other side ended the connection at once: it wants TLS, a certificate, or another protocol",
        "if it speaks TLS add --tls (and --cert FILE if it wants to know you); if it is a gRPC port add --grpc",
    ),
    Known(
        r"Method not found!|unknown service tensorflow\.serving",
        "a gRPC server answered, but it knows nothing of TensorFlow Serving",
        "is this a TensorFlow Serving gRPC port?",
    ),
    Known(
        r"407 Proxy Authentication Required",
        "the proxy wants a name and a password",
        "--proxy http://NAME:PASSWORD@HOST:PORT",
    ),
    Known(
        r"no connection within",
        "the host did not take the connection in time: it is away, or something on the way drops what is sent",
        "look at --host and --port; --connect-timeout and --timeout SECONDS wait longer",
    ),
    Known(
        r"504 Gateway Time-?out",
        "a gateway gave up before the model had answered",
        "raise the time it allows, ask with fewer rows, or go past it with --host",
    ),
    Known(
        r"50[23] (?:Bad Gateway|Service (?:Temporarily )?Unavailable)|upstream connect error",
        "a gateway answered, and reached no server behind it",
        "tfsctl wait NAME --host HOST asks the server itself; look at the gateway's own log, too",
    ),
    Known(
        r"too_many_pings|ENHANCE_YOUR_CALM",
        "the connection was kept alive with more pings than the server takes",
        "ask for fewer: a longer --keepalive, 300 seconds by gRPC's own default",
    ),
    Known(
        r"(?i:deadline.exceeded)",
        "the answer did not come before the deadline that the call itself had",
        "--timeout SECONDS waits longer",
    ),
    Known(
        r"failed to connect to all addresses",
        "no address of that host gave a connection",
        "is it running? tfsctl serve PATH starts a server; tfsctl ps lists those that run",
    ),
    Known(
        r"\b(?:401 Unauthorized|403 Forbidden|UNAUTHENTICATED|PERMISSION_DENIED)\b",
        "a gateway before the server wants to know who asks",
        "--header-env 'authorization=Bearer TOKEN' sends the token in the variable TOKEN",
    ),
    Known(
        r"(?i:<title>\s*404 Not Found\s*</title>)",
        "that is no path of TensorFlow Serving's, which all begin with /v1/models/",
        "POST /v1/models/NAME:predict asks a model; tfsctl predict --show curl prints a request that works",
    ),
    Known(
        r"[Rr]eceived http2 header with status: \d+|without TensorFlow Serving's words",
        "something else than TensorFlow Serving answered: a gateway with another path, or another service",
        "look at --port, and at the path of --url",
    ),
)
