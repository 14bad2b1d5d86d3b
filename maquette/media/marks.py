"""The mark that a generated picture, sound or film carries in its metadata, and reading back what any file says.

Written twice, because tools keep different things: as text (in PNG and MP4 under `AIGC`, in WAV as the comment), the
JSON record of GB 45438-2025, and as an XMP packet with the same record and IPTC's digital source type
`trainedAlgorithmicMedia`. Pixels and samples are untouched. What else an item was asked with stands beside that as a
record of its own, in the files of every medium; both are found by a search of the bytes.
"""

import html
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

from PIL.PngImagePlugin import PngInfo

from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media import decode, wav

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"
 xmp:CreatorTool={tool}
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
 TC260:AIGC={record}/></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""

_FRONT = rb"\A---\nAIGC: (\{[^{}\n]*\})\n(?:Maquette: (\{[^{}\n]*\})\n)?---\n"
_RECORD, _RECIPE = rb'"AIGC":\s*(\{[^{}]*\})', rb'"Maquette":\s*(\{[^{}]*\})'


class Origin(NamedTuple):
    """What a generated file says of how it was made."""

    digest: str
    """How that of the model's weights begins."""
    seed: int
    asked: Mapping[str, Any]
    """See `Mark.asked`."""


def chunks(mark: Mark) -> PngInfo:
    """The text chunks of a PNG that carries `mark`."""
    info = PngInfo()
    for name, text in zip(mark.records, mark.lines, strict=True):
        info.add_text(name, text)
    info.add_itxt("XML:com.adobe.xmp", packet(mark))
    return info


def onto(clip: bytes, mark: Mark) -> bytes:
    """A WAV or MP4 file of ours with `mark`; files of other formats are given theirs when they are made."""
    if wav.is_wav(clip):
        texts = dict(zip((wav.COMMENT, wav.SUBJECT), mark.lines, strict=False))
        return wav.saying(clip, texts | {wav.SOFTWARE: mark.generator}, packet(mark))
    from maquette.media import film  # half a second, with all of libav

    return film.saying(clip, packet(mark)) if film.signature(clip) == "MP4" else clip


def tags(mark: Mark) -> dict[str, str]:
    """The metadata of a film that carries `mark`."""
    return dict(zip(mark.records, mark.lines, strict=True)) | {"comment": f"made by a model, {mark.generator}"}


def packet(mark: Mark) -> str:
    """`mark` as an XMP packet."""
    return _PACKET.format(tool=quoteattr(mark.generator), record=quoteattr(mark.lines[0]))


def read_mark(data: bytes, name: str = "") -> dict[str, str] | None:
    """The record that a picture, a WAV file or a film carries (`Mark.fields()`), or None when it has none.

    Raises:
        MaquetteError: MQ-3001 when `data` is none of them.
    """
    notes = _carried(data, name)
    attribute = re.search(r"TC260:AIGC=(?:\"([^\"]*)\"|'([^']*)')", notes.xmp)
    in_xmp = html.unescape(attribute[1] or attribute[2] or "") if attribute else ""
    for text in (notes.text.get("AIGC", ""), notes.text.get(wav.COMMENT, ""), in_xmp):
        try:
            found = parse_json(text, name)
        except MaquetteError:
            continue
        found = found.get("AIGC", found) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return {str(key): str(value) for key, value in found.items()}
    return None


def origin(data: bytes, name: str) -> Origin:
    """How the item in a file was made, by what its bytes say, whatever its medium.

    Raises:
        MaquetteError: MQ-3021 when they say nothing of the kind.
    """
    front = re.search(_FRONT, data)
    record, recipe = front.groups() if front else (_first(_RECORD, data), _first(_RECIPE, data))
    try:
        told = parse_json(record or b"", name)
        asked = parse_json(recipe, name) if recipe else {}
    except MaquetteError:
        told, asked = {}, {}
    made = re.fullmatch(r"([0-9a-f]{16})-(\d{1,19})", str(told.get("ProduceID", "")))
    if made is None:
        raise MaquetteError("MQ-3021", name)
    return Origin(made[1], int(made[2]), asked)


def _first(pattern: bytes, data: bytes) -> bytes | None:
    found = re.search(pattern, data)
    return found[1] if found else None


def _carried(data: bytes, name: str) -> decode.Notes:
    """The text that a file carries, and its XMP packet."""
    if wav.is_wav(data):
        return wav.carried(data, name)
    from maquette.media import film  # half a second, with all of libav

    return film.carried(data, name) if film.signature(data) else decode.carried(data, name)
