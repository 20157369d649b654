"""Known connection errors: why no server answered, in the words of gRPC, OpenSSL, curl and Python."""

from __future__ import annotations

from tfsctl.diagnosis.known_error import KnownError

CONNECTION_ERRORS = (
    KnownError(
        r"(?i:(?:verify.failed|certificate problem): (?:self.signed certificate|unable to get (?:local )?issuer).{0,40})",
        "the server's certificate was signed by an authority that this machine does not trust",
        "--ca FILE trusts that authority's certificate",
    ),
    KnownError(
        r"(?i:hostname mismatch|hostname verification check failed|ip address mismatch|certificate is not valid for|peer name \S+ is not in peer)",
        "the server's certificate is for another host name",
        "use a name in the certificate: --host NAME, or --tls-server-name NAME",
    ),
    KnownError(
        r"(?i:certificate has expired|certificate is not yet valid)",
        "the server's certificate has expired or is not valid yet, or a clock is wrong",
        "renew the certificate; `date` shows this machine's clock",
    ),
    KnownError(
        r"(?i:certificate.verify.failed|SSL certificate problem)",
        "the server's certificate could not be verified",
        "--ca FILE trusts the authority that signed it; `openssl s_client -connect HOST:PORT` shows the certificate",
    ),
    KnownError(
        r"(?i:certificate.required|sslv3 alert bad certificate|tlsv1\S* alert unknown ca|alert_unknown_ca)",
        "the server requires a client certificate from an authority that it trusts",
        "--cert FILE and --key FILE send one",
    ),
    KnownError(
        r"(?i:wrong.version.number|record layer failure|packet length too long|no shared cipher|unsupported protocol)",
        "the server does not speak TLS on that port",
        "remove --tls (in a URL write http://)",
    ),
    KnownError(
        r"(?i:name or service not known|no address associated with hostname|could not resolve host|nodename nor servname|"
        r"temporary failure in name resolution|DNS resolution failed|domain name not found)",
        "the host name has no address",
        "check the spelling of --host; `getent hosts NAME` looks a name up",
    ),
    KnownError(
        r"(?i:connection refused|couldn't connect to server)",
        "no program listens on that port",
        "tfsctl ps lists the running servers; tfsctl serve PATH starts a server",
    ),
    KnownError(
        r"(?i:no route to host|network is unreachable|host is unreachable)",
        "the network has no route to that host",
        "check --host, VPNs and firewalls",
    ),
    KnownError(
        "415 Unsupported Media Type, without a message of TensorFlow Serving",
        "the request was sent over REST to a gRPC port",
        "add --grpc, or give the REST port: --port PORT",
    ),
    KnownError(
        r"[Rr]eceived http2 header with status: 404",
        "the port serves HTTP without gRPC: it is a REST port or a gateway",
        "remove --grpc, or give the gRPC port: --port PORT",
    ),
    KnownError(
        r"(?i:transport closed|transport is closing)",
        "the connection was closed before the response: the server ended, or the client uses gRPC on a REST port",
        "tfsctl ps shows whether the server is running, and its gRPC port",
    ),
    KnownError(
        r"Failed parsing HTTP/2|Trying to connect an http1\.x server|Received HTTP/0\.9|illegal status line",
        "the port uses another protocol: REST and gRPC have different ports",
        "use --port of the right protocol; for a gRPC port add --grpc, for a REST port remove it",
    ),
    KnownError(
        r"(?i:socket closed|connection reset by peer|server disconnected without sending|empty reply from server)",
        "the server closed the connection: it may require TLS, a client certificate, or another protocol",
        "if it uses TLS add --tls (and --cert FILE for a client certificate); if it is a gRPC port add --grpc",
    ),
    KnownError(
        r"Method not found!|unknown service tensorflow\.serving",
        "a gRPC server without TensorFlow Serving's services responded",
        "check that the port is a gRPC port of TensorFlow Serving",
    ),
    KnownError(
        r"407 Proxy Authentication Required",
        "the proxy requires a user name and a password",
        "--proxy http://NAME:PASSWORD@HOST:PORT",
    ),
    KnownError(
        r"no connection within",
        "the host did not accept the connection in time: it is down, or a firewall drops packets",
        "check --host and --port; --connect-timeout and --timeout SECONDS wait longer",
    ),
    KnownError(
        r"504 Gateway Time-?out",
        "a gateway timed out before the model responded",
        "raise the gateway's timeout, send fewer rows, or connect to the server directly with --host",
    ),
    KnownError(
        r"50[23] (?:Bad Gateway|Service (?:Temporarily )?Unavailable)|upstream connect error",
        "a gateway could not reach the server behind it",
        "tfsctl wait NAME --host HOST checks the server directly; see also the gateway's log",
    ),
    KnownError(
        r"too_many_pings|ENHANCE_YOUR_CALM",
        "the client sent more keepalive pings than the server allows",
        "use a longer --keepalive, such as 300 seconds (gRPC's default)",
    ),
    KnownError(
        r"(?i:deadline.exceeded)",
        "the deadline of the call passed before the response arrived",
        "--timeout SECONDS waits longer",
    ),
    KnownError(
        r"failed to connect to all addresses",
        "no address of that host accepted a connection",
        "tfsctl ps lists the running servers; tfsctl serve PATH starts a server",
    ),
    KnownError(
        r"\b(?:401 Unauthorized|403 Forbidden|UNAUTHENTICATED|PERMISSION_DENIED)\b",
        "a gateway in front of the server requires authentication",
        "--header-env 'authorization=Bearer TOKEN' sends the token in the variable TOKEN",
    ),
    KnownError(
        r"(?i:<title>\s*404 Not Found\s*</title>)",
        "the path is not one of TensorFlow Serving, whose paths begin with /v1/models/",
        "send predictions to POST /v1/models/NAME:predict; tfsctl predict --show curl prints a working request",
    ),
    KnownError(
        "[Rr]eceived http2 header with status: \\d+|without a message of TensorFlow Serving",
        "the response is not from TensorFlow Serving, but from a gateway or another service",
        "check --port, and the path of --url",
    ),
)
