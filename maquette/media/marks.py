"""The mark that a generated picture carries in its metadata, and reading it back.

Written twice, because tools keep different things: as PNG text under `AIGC` (the JSON record of GB 45438-2025), and as
an XMP packet with the same record and IPTC's digital source type `trainedAlgorithmicMedia`. Pixels are untouched.
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
    record = json.dumps({"AIGC": mark.fields()})  # ASCII: a tEXt chunk is Latin-1
    info = PngInfo()
    info.add_text("AIGC", record)
    info.add_itxt("XML:com.adobe.xmp", _PACKET.format(tool=quoteattr(mark.generator), record=quoteattr(record)))
    return info


def read_mark(data: bytes, name: str = "") -> dict[str, str] | None:
    """The record that a picture file carries (`Mark.fields()`), or None when it has none.

    Raises:
        MaquetteError: MQ-3001 when `data` is not a readable picture.
    """
    notes = decode.carried(data, name)
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
