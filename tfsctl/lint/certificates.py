"""The dates of X.509 certificates in PEM text. Format: RFC 5280, section 4.1."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION_TAG, _UTC_TIME = 0xA0, 0x17
_FIELDS_BEFORE_VALIDITY = 3  # serial number, signature algorithm, issuer


@dataclass(frozen=True, slots=True)
class Validity:
    """The time in which a certificate is valid, in Unix time."""

    start_s: float
    end_s: float


def validities(pem: str) -> Iterator[Validity]:
    """The validity of each certificate in a PEM text. Certificates that cannot be read are skipped."""
    import ssl

    for text in _PEM.findall(pem):
        try:
            yield _validity(ssl.PEM_cert_to_DER_cert(text))
        except (ValueError, IndexError):
            continue


def _validity(der: bytes) -> Validity:
    certificate = _elements(der)[0][1]
    fields = _elements(_elements(certificate)[0][1])
    if fields[0][0] == _VERSION_TAG:
        fields = fields[1:]
    start, end = _elements(fields[_FIELDS_BEFORE_VALIDITY][1])[:2]
    return Validity(_time_s(*start), _time_s(*end))


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The DER elements of a sequence: tag and content."""
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("truncated")
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _time_s(tag: int, content: bytes) -> float:
    digits = content.decode("ascii").rstrip("Z")
    if tag == _UTC_TIME:  # years of two digits: 1950 to 2049
        digits = ("19" if digits >= "5" else "20") + digits
    parts = [int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))]
    return timegm((*parts, 0, 0, 0))
