"""Encodings of text: byte order marks, and the text on standard input."""

from __future__ import annotations

import codecs

from tfsctl.errors import InvalidInput

ENCODING_HINT = "--encoding cp1252 reads Western European text of Windows, --encoding latin-1 that of older systems"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode_stdin(content: bytes, *, has_encoding_option: bool) -> str:
    """All of stdin as text: UTF-8, or the encoding of its byte order mark.

    Raises InvalidInput for other text. The hint names `--encoding` if the command has this option, otherwise iconv.
    """
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8-sig")
    utf_16 = utf_16_without_mark(content) if encoding == "utf-8-sig" else None
    if utf_16 is not None:
        raise InvalidInput(
            "stdin is UTF-16 text without a byte order mark",
            hint=f"--encoding {utf_16} reads UTF-16 text"
            if has_encoding_option
            else f"iconv -f {utf_16} -t UTF-8 converts it",
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise InvalidInput(f"stdin has the byte order mark of {encoding}, but is not {encoding} text") from None
        line = content.count(b"\n", 0, error.start) + 1
        hint = ENCODING_HINT if has_encoding_option else "iconv -f LATIN1 -t UTF-8 converts Latin-1 text"
        raise InvalidInput(f"line {line} is not UTF-8 text (byte 0x{content[error.start]:02x})", hint=hint) from None


def utf_16_without_mark(content: bytes) -> str | None:
    """The encoding if most of the first bytes are those of UTF-16 text in a Latin script."""
    start = content[:1024]
    half = len(start) // 2
    low, high = start[0::2].count(0), start[1::2].count(0)
    if high > half / 2 and not low:
        return "utf-16-le"
    return "utf-16-be" if low > half / 2 and not high else None
