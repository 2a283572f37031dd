"""A token endpoint on loopback for the real azure-identity: App Service, virtual machine, workload identity.

Its answers have only the keys that azure-identity reads.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HEADER = "the-header-of-this-app"


@dataclass
class TokenEndpoint:
    """Issues `token-1`, `token-2` and so on, each for `lifetime` seconds, unless `refused` is set."""

    origin: str = ""
    lifetime: int = 3600
    refused: bool = False
    requested_scopes: list[str] = field(default_factory=list)
    """The resource or scope of each token that was issued."""

    @property
    def app_service(self) -> dict[str, str]:
        """Return the variables with which azure-identity finds the identity of an App Service."""
        return {
            "IDENTITY_ENDPOINT": f"{self.origin}/msi/token",
            "IDENTITY_HEADER": HEADER,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }

    @property
    def machine(self) -> dict[str, str]:
        """Return the variables that make this server the metadata service of a virtual machine."""
        return {
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.origin,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }

    def pod(self, proof: Path) -> dict[str, str]:
        """Return the variables of a pod with a workload identity."""
        return {
            "AZURE_TENANT_ID": "a-tenant",
            "AZURE_CLIENT_ID": "an-app",
            "AZURE_FEDERATED_TOKEN_FILE": str(proof),
            "AZURE_AUTHORITY_HOST": self.origin,
            "AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential",
        }

    def answer(self, method: str, url: str, headers: dict[str, str], body: str) -> tuple[int, dict[str, object]]:
        """Return status and JSON of the answer to a token request, by the rules of the three kinds."""
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        form = parse_qs(body)
        if path == "/msi/token":
            trusted, scope = headers.get("x-identity-header") == HEADER, query.get("resource")
        elif path == "/metadata/identity/oauth2/token":
            trusted, scope = headers.get("metadata") == "true", query.get("resource")
        else:
            trusted = (
                method == "POST" and path.endswith("/oauth2/v2.0/token") and form["client_assertion"] == ["a-proof"]
            )
            scope = form.get("scope")
        if not trusted or scope is None or self.refused:
            return 400, {"error": "invalid_request", "error_description": "Identity not found"}
        self.requested_scopes.append(scope[0])
        return 200, {
            "access_token": f"token-{len(self.requested_scopes)}",
            "expires_in": self.lifetime,
            "expires_on": int(time.time()) + self.lifetime,
            "resource": scope[0],
            "token_type": "Bearer",
        }


@contextmanager
def token_endpoint(certificate: Path | None = None) -> Iterator[TokenEndpoint]:
    """Run a token endpoint. Given a path for its certificate it uses TLS, as azure-identity demands of an authority."""
    endpoint = TokenEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = endpoint.answer(self.command, self.path, headers, self.rfile.read(length).decode())
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _serve  # noqa: N815 - the names of http.server

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as named in http.server
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.origin = f"http://127.0.0.1:{server.server_address[1]}"
    if certificate is not None:
        _certify(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        endpoint.origin = endpoint.origin.replace("http://", "https://")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _certify(path: Path) -> None:
    """Write a certificate for 127.0.0.1 and its key, valid for an hour."""
    from cryptography import x509  # noqa: PLC0415 - installed with azure-identity
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
