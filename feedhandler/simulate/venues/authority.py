"""A certificate authority for an afternoon, and the certificates that it signs, made when they are needed."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from feedhandler.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

NAMES = ("localhost", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1")
HOUR = datetime.timedelta(hours=1)
VALID = (-HOUR, 7 * 24 * HOUR)  # from now


class Identity(NamedTuple):
    """A certificate and its private key, as PEM files; `certificate` holds the chain."""

    certificate: Path
    key: Path


class Authority:
    """Makes its own root and signs with it; all files go into `folder`. `ca` is the root's certificate, PEM.

    Raises ConfigError where the package `cryptography` is missing.
    """

    def __init__(self, folder: Path, name: str = "feedhandler simulated venues: test only") -> None:
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise ConfigError(
                "simulate: test certificates need the package cryptography: pip install 'feedhandler[simulate]'"
            ) from None

        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ca = folder, folder / "ca.pem"
        self._name, self._key = name, ec.generate_private_key(ec.SECP256R1())
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (_usage(signs=True), True)]
        self._root = self._signed(name, self._key, VALID, [*extensions, (self._identifier, False)])
        self.ca.write_bytes(self._root)

    def identity(
        self,
        names: Sequence[str] = NAMES,
        file: str = "server",
        valid: tuple[datetime.timedelta, datetime.timedelta] = VALID,
        *,
        client: bool = False,
        alternatives: bool = True,
    ) -> Identity:
        """A certificate for these host names and addresses, in FILE.pem and FILE.key.

        `valid`: from when to when, counted from now. `client`: of use to a client, not to a server. `alternatives`
        False: the name is in the subject only, as thirty years ago.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(signs=False), True),
            (x509.ExtendedKeyUsage([purpose]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), False),
        ]
        if alternatives:
            extensions.append((x509.SubjectAlternativeName([_general(name) for name in names]), False))
        key = ec.generate_private_key(ec.SECP256R1())
        made = Identity(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        made.certificate.write_bytes(self._signed(names[0], key, valid, extensions) + self._root)
        made.key.touch(mode=0o600)
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made

    def _signed(
        self,
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        valid: tuple[datetime.timedelta, datetime.timedelta],
        extensions: Iterable[tuple[x509.ExtensionType, bool]],
    ) -> bytes:
        """A certificate in PEM; each of `extensions` with whether it is critical."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import NameOID

        now = datetime.datetime.now(datetime.UTC)
        subjects, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, self._name)
        )
        builder = x509.CertificateBuilder().subject_name(subjects).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + valid[0]).not_valid_after(now + valid[1])
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def server_context(identity: Identity) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 as a venue offers them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(identity.certificate, identity.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
