"""Who may connect: a pre-shared key with a mutual challenge, and TLS by option.

Both sides prove that they know the key by an HMAC (RFC 2104) with SHA-256 of both nonces; each proof names its side, so
that none can be sent back to who made it. The proofs cover the handshake, not what follows: on a network of strangers
use TLS as well.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
import os
import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.files.safe import StorageError, read_file

NONCE_BYTES: Final = 32
LEAST_KEY_BYTES: Final = 16
MOST_KEY_BYTES: Final = 4096
DAYS: Final = 3650
Side = Literal[b"station", b"device"]


def nonce() -> bytes:
    """A challenge that nobody has seen before."""
    return secrets.token_bytes(NONCE_BYTES)


def prove(key: bytes, side: Side, station_nonce: bytes, device_nonce: bytes) -> bytes:
    """What only who knows the key can say, and only on this connection."""
    return hmac.new(key, b"wdmoe testbed 1\0" + side + b"\0" + station_nonce + device_nonce, hashlib.sha256).digest()


def proves(proof: bytes, key: bytes, side: Side, station_nonce: bytes, device_nonce: bytes) -> bool:
    """Whether a proof is the right one; takes as long for any wrong one."""
    return hmac.compare_digest(proof, prove(key, side, station_nonce, device_nonce))


def read_key(path: Path | None) -> bytes:
    """The key of a file, without white space around it; empty where there is no file.

    Raises:
        ValueError: it cannot be read, is too short, or others may read it.
    """
    if path is None:
        return b""
    try:
        key = read_file(path, MOST_KEY_BYTES, links=True).strip()
    except StorageError as error:
        raise ValueError(f"--key {error}") from error
    if len(key) < LEAST_KEY_BYTES:
        raise ValueError(
            f"--key {path} holds {len(key)} bytes, expected at least {LEAST_KEY_BYTES}: make one with `key`"
        )
    if os.name == "posix" and (mode := path.stat().st_mode & 0o077):
        raise ValueError(f"--key {path} may be read by others (mode {mode:03o}): chmod 600 {path}")
    return key


def write_key(path: Path) -> None:
    """Write a new key that nobody else may read.

    Raises:
        ValueError: the file exists already.
        OSError: it cannot be written.
    """
    if path.exists():
        raise ValueError(f"{path} exists: move it away, or choose another name")
    old = os.umask(0o077)
    try:
        write_bytes(path, secrets.token_hex(NONCE_BYTES).encode() + b"\n")
    finally:
        os.umask(old)


def write_certificates(folder: Path, names: Sequence[str]) -> list[Path]:
    """Write an authority of one's own, and a certificate with its key for each device.

    Args:
        folder: new; gets `authority.pem`, and NAME.pem and NAME.key of each name. The authority's own key is not kept.
        names: host names or addresses that the base station connects to.

    Raises:
        ValueError: the folder exists, or there are no names.
        OSError: it cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    if not names:
        raise ValueError("--names is empty, expected the host name or address of each device")
    if wrong := [name for name in names if not name or "/" in name or name.startswith(".")]:
        raise ValueError(f"--names holds {wrong[0]!r}, expected a host name or an address")
    if folder.exists():
        raise ValueError(f"{folder} exists: move it away, or choose another name")

    def subject(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def builder(name: str, key: ec.EllipticCurvePrivateKey, authority: bool) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject(name))
            .issuer_name(subject("wdmoe testbed"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))  # boards without a clock of their own
            .not_valid_after(now + datetime.timedelta(days=DAYS))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        )

    signer = ec.generate_private_key(ec.SECP256R1())
    root = builder("wdmoe testbed", signer, True).sign(signer, hashes.SHA256())
    folder.mkdir(parents=True)
    written = [folder / "authority.pem"]
    write_bytes(written[0], root.public_bytes(serialization.Encoding.PEM))
    old = os.umask(0o077)
    try:
        for name in names:
            key = ec.generate_private_key(ec.SECP256R1())
            other = x509.SubjectAlternativeName([_general_name(name)])
            made = builder(name, key, False).add_extension(other, critical=False).sign(signer, hashes.SHA256())
            plain = serialization.NoEncryption()
            form = serialization.PrivateFormat.PKCS8
            write_bytes(folder / f"{name}.pem", made.public_bytes(serialization.Encoding.PEM))
            write_bytes(folder / f"{name}.key", key.private_bytes(serialization.Encoding.PEM, form, plain))
            written += [folder / f"{name}.pem", folder / f"{name}.key"]
    finally:
        os.umask(old)
    return written


def _general_name(name: str):  # type: ignore[no-untyped-def]
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def device_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS of a device, which shows a certificate.

    Raises:
        ValueError: the files are none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"--tls {certificate} {key} cannot be used: {error}") from error
    return context


def station_tls(authority: Path) -> ssl.SSLContext:
    """TLS of the base station, which takes the certificates of one authority alone.

    Raises:
        ValueError: the file is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"tls {authority} cannot be used: {error}") from error
    return context
