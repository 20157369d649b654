"""The labels of every container that tfsctl starts. Only containers with these labels are ever stopped or removed."""

from __future__ import annotations

OWN_LABELS = "tfsctl."  # how the keys of these labels begin
LABEL = "tfsctl.server"  # the name of the server
MODELS_LABEL = "tfsctl.models"  # the names of its models, URL-quoted and comma-separated
STATE_LABEL = "tfsctl.state"  # the state directory: `ps` and `stop` ignore containers of another one
FRONT_LABEL = "tfsctl.front"  # the name of the front that the container is behind
CERTIFICATE_LABEL = "tfsctl.certificate"  # the certificate file of gRPC over TLS
CLIENT_CA_LABEL = "tfsctl.client-ca"  # the file of the authority that signs the certificates of clients
