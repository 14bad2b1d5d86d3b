"""The mark that a generated picture, film or sound carries in its metadata, and reading it back.

Written twice, because tools keep different things: as text (in PNG and MP4 under `AIGC`, in WAV as the comment), the
JSON record of GB 45438-2025, and as an XMP packet with the same record and IPTC's digital source type
`trainedAlgorithmicMedia`. Pixels and samples are untouched.
"""

import html
import json
import re
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


def chunks(mark: Mark) -> PngInfo:
    """The text chunks of a PNG that carries `mark`."""
    info = PngInfo()
    info.add_text("AIGC", record(mark))
    info.add_itxt("XML:com.adobe.xmp", packet(mark))
    return info


def tags(mark: Mark) -> dict[str, str]:
    """The metadata of an MP4 file that carries `mark`."""
    return {"AIGC": record(mark), "comment": f"made by a model, {mark.generator}"}


def onto(clip: bytes, mark: Mark) -> bytes:
    """A WAV or MP4 file of ours with `mark`; files of other formats are given theirs when they are made."""
    if wav.is_wav(clip):
        return wav.saying(clip, {wav.COMMENT: record(mark), wav.SOFTWARE: mark.generator}, packet(mark))
    from maquette.media import film  # half a second, with all of libav

    return film.saying(clip, packet(mark)) if film.signature(clip) == "MP4" else clip


def record(mark: Mark) -> str:
    """`mark` as JSON, all ASCII: a tEXt chunk is Latin-1."""
    return json.dumps({"AIGC": mark.fields()})


def packet(mark: Mark) -> str:
    """`mark` as an XMP packet."""
    return _PACKET.format(tool=quoteattr(mark.generator), record=quoteattr(record(mark)))


def read_mark(data: bytes, name: str = "") -> dict[str, str] | None:
    """The record that a picture, a film or a WAV file carries (`Mark.fields()`), or None when it has none.

    Raises:
        MaquetteError: MQ-3001 when `data` is none of these.
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


def _carried(data: bytes, name: str) -> decode.Notes:
    if wav.is_wav(data):
        return wav.carried(data, name)
    from maquette.media import film

    return film.carried(data, name) if film.signature(data) else decode.carried(data, name)
