"""The mark that a generated picture or film carries in its metadata, and reading it back.

Written twice, because tools keep different things: as PNG text or MP4 metadata under `AIGC` (the JSON record of
GB 45438-2025), and as an XMP packet with the same record and IPTC's digital source type `trainedAlgorithmicMedia`.
Pixels are untouched.
"""

import html
import json
import re
from xml.sax.saxutils import quoteattr

from PIL.PngImagePlugin import PngInfo

from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media import decode

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
    info.add_text("AIGC", _record(mark))
    info.add_itxt("XML:com.adobe.xmp", packet(mark))
    return info


def tags(mark: Mark) -> dict[str, str]:
    """The metadata of a film that carries `mark`."""
    return {"AIGC": _record(mark), "comment": f"made by a model, {mark.generator}"}


def packet(mark: Mark) -> str:
    """The XMP packet that carries `mark`."""
    return _PACKET.format(tool=quoteattr(mark.generator), record=quoteattr(_record(mark)))


def _record(mark: Mark) -> str:
    return json.dumps({"AIGC": mark.fields()})  # ASCII: a tEXt chunk is Latin-1


def read_mark(data: bytes, name: str = "") -> dict[str, str] | None:
    """The record that a picture or a film carries (`Mark.fields()`), or None when it has none.

    Raises:
        MaquetteError: MQ-3001 when `data` is not readable.
    """
    from maquette.media import film  # half a second, with all of libav

    notes = film.carried(data, name) if film.signature(data) else decode.carried(data, name)
    attribute = re.search(r"TC260:AIGC=(?:\"([^\"]*)\"|'([^']*)')", notes.xmp)
    in_xmp = html.unescape(attribute[1] or attribute[2] or "") if attribute else ""
    for text in (notes.text.get("AIGC", ""), in_xmp):
        try:
            record = parse_json(text, name)
        except MaquetteError:
            continue
        record = record.get("AIGC", record) if isinstance(record, dict) else None
        if isinstance(record, dict):
            return {str(key): str(value) for key, value in record.items()}
    return None
