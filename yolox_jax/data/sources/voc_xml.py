"""Reads one annotation file of Pascal VOC, in any encoding that it declares."""

import codecs
import dataclasses
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.checks import ErrorHandler
from yolox_jax.data.sources.remarks import RemarkKind, Remarks
from yolox_jax.data.sources.values import LARGEST_SIDE, as_flag

DIFFICULT_AS_WORD = RemarkKind(
    "difficult written as a word",
    "warning",
    "'true' and 'yes' are read as 1; 'false', 'no' and 'unspecified' as 0. Other programs may refuse them.",
)
NAMESPACE = RemarkKind(
    "XML files with a namespace", "warning", "It is ignored. Other programs may find no objects. Remove xmlns."
)

_DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["'][^>]*\?>""")
# Files often hold characters of these supersets of the encoding that they declare.
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "cp950",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-1": "cp1252",
}
_SAVE_AS_UTF8 = "Save it as UTF-8"


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The content of one XML file."""

    file_name: str
    """Name of the image that the file gives; it is often outdated, and may be empty."""
    size: tuple[int, int] | None
    """Height and width in px; None if the file gives none, or 0."""
    numbers: list[int]
    """Index of each object in the file."""
    names: list[str]
    boxes_xyxy: list[list[float]]
    difficult: list[bool]


def read_annotation(path: Path, errors: ErrorHandler, remarks: Remarks) -> Annotation:
    """Read an XML file.

    Args:
        path: the file.
        errors: what to do about invalid objects.
        remarks: receives what is written oddly and read as meant.

    Raises:
        DataError: it is not valid XML, or its encoding is not the declared one.
    """
    root = _parse(path)
    if _remove_namespaces(root):
        remarks.add(NAMESPACE, f"{path}: <{root.tag}>")
    file_name = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
    annotation = Annotation(file_name, _size(root, str(path)), [], [], [], [])
    for number, entry in enumerate(root.iter("object")):
        where = f"{path}: object {number}"
        with errors:
            name, box = _object(entry, where)
            difficult = _difficult(entry, where, remarks)
            annotation.numbers.append(number)
            annotation.names.append(name)
            annotation.boxes_xyxy.append(box)
            annotation.difficult.append(difficult)
    return annotation


def _parse(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", kind="unreadable file") from error
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        # Python's parser does not know encodings with several bytes per character, other than UTF-8 and UTF-16.
        text = _decode(content, path)
    try:
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL))
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not valid XML: {error}. Was it copied completely?", kind="invalid XML") from error


def _remove_namespaces(root: ElementTree.Element) -> bool:
    """Reduce the names of elements to their local parts. Return whether one had a namespace."""
    qualified = [element for element in root.iter() if element.tag.startswith("{")]
    for element in qualified:
        element.tag = element.tag.rpartition("}")[2]
    return bool(qualified)


def _decode(content: bytes, path: Path) -> str:
    kind = "XML in another encoding than declared"
    has_utf8_mark = content.startswith(codecs.BOM_UTF8)
    content = content.removeprefix(codecs.BOM_UTF8)
    match = _DECLARATION.match(content)
    declared = match[1].decode() if match else ""
    encoding = declared or "utf-8"
    is_wide = encoding.lower().startswith(("utf-16", "utf-32", "ucs-2", "unicode"))
    if has_utf8_mark or (match and is_wide):
        # The declaration could be read byte by byte. Programs for .NET save text that says utf-16 as UTF-8.
        encoding = "utf-8"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        codec = codecs.lookup(encoding).name
        text = content.decode(_SUPERSETS.get(codec, codec))
    except LookupError:
        raise DataError(f"{path} declares the unknown encoding {declared!r}. {_SAVE_AS_UTF8}.", kind=kind) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        says = f"declares {declared}" if declared else "declares no encoding, which means UTF-8"
        raise DataError(
            f"{path} {says}, but line {line} is not {encoding}. {_SAVE_AS_UTF8} without the declaration, or declare "
            'its encoding in the first line, such as <?xml version="1.0" encoding="gbk"?>.',
            kind=kind,
        ) from error
    if codec != "utf-8" and _is_utf8(content):
        raise DataError(f"{path} declares {declared}, but is UTF-8. Correct or remove its first line.", kind=kind)
    return text


def _is_utf8(content: bytes) -> bool:
    """Return whether bytes are UTF-8 with letters of three bytes, which text in encodings of two hardly resembles."""
    try:
        return any(letter >= "\u0800" for letter in content.decode())
    except UnicodeDecodeError:
        return False


def _size(root: ElementTree.Element, where: str) -> tuple[int, int] | None:
    if not all((root.findtext(f"size/{side}") or "").strip() for side in ("height", "width")):
        return None
    height, width = (_number(root, f"size/{side}", where) for side in ("height", "width"))
    if max(height, width) > LARGEST_SIDE:
        raise DataError(
            f"{where}: size must be the width and height of the image in px; got {width:g} and {height:g}",
            kind="malformed numbers",
        )
    return (int(height), int(width)) if height >= 1 and width >= 1 else None


def _object(entry: ElementTree.Element, where: str) -> tuple[str, list[float]]:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where} has no name", kind="objects without a name")
    box = [_number(entry, f"bndbox/{corner}", where) for corner in ("xmin", "ymin", "xmax", "ymax")]
    # Not swapped: the last two numbers may be width and height.
    if box[2] < box[0] or box[3] < box[1]:
        raise DataError(
            f"{where} ({name}): box {box} has xmax below xmin or ymax below ymin; correct it",
            kind="boxes of negative size",
        )
    return name, box


def _difficult(entry: ElementTree.Element, where: str, remarks: Remarks) -> bool:
    text = (entry.findtext("difficult") or "").strip()
    flag = False if text.lower() in ("", "unspecified") else as_flag(text)
    if flag is None:
        raise DataError(f"{where}: difficult must be 0 or 1; got {text!r}", kind="invalid flags")
    if text.isalpha():
        remarks.add(DIFFICULT_AS_WORD, f"{where}: {text!r}")
    return flag


def _number(element: ElementTree.Element, tag: str, where: str) -> float:
    text = element.findtext(tag)
    try:
        value = float(text or "")
    except ValueError:
        raise DataError(f"{where}: {tag} must be a number; got {text!r}", kind="malformed numbers") from None
    if not math.isfinite(value):
        raise DataError(f"{where}: {tag} must be finite; got {text}", kind="boxes with NaN or infinity")
    return value
