"""How many tokens a text costs: counted by the model's own tokenizer, or a safe estimate when there is none yet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from mug.errors import InputError

Counter = Callable[[Sequence[str]], list[int]]
"""Token counts of several texts at once."""

TEMPLATE = 40
"""The most that the qwen template adds around a prompt: role marks and the system prompt."""


# Measured with Qwen2.5's vocabulary: ASCII, everyday punctuation and the 6,763 characters of GB2312 (rows 0xB0 to
# 0xF7) cost at most one token each, but for these.
_EXCEPTIONS = (
    "丌丬丶丿乇亠亻佧冂冖冫凵刂勹匚卩厶咭哜囗囝坶垅堀夂嬲宀屮巛庀廴廾弪彐彡忄憝扌拚挢捱揎揞揲搿摺擗攴攵朊楱榀榘欷氵氽沲泶渖"
    "灬熳犭猓猸甙疋疒痖矽砦砩硷礤礻窆箝簦糸纟缋缍缏肀肜膣膪臁舡舨艹茇菸虍蚵螓蟓蠛衤謦讠诶谘跫軎辶醣钅钶钸镙镟阝阢飚饣馀髟鲶"
    "鳆鳋麴齄"
)
_EVERYDAY = set(
    bytes(byte for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF) for byte in (row, cell)).decode(
        "gb2312", "ignore"
    )
    + "，。？！、；：“”‘’（）《》…—·"
) - set(_EXCEPTIONS)
_COSTLY = re.compile(f"[^\x09\x0a\x20-\x7e{''.join(sorted(_EVERYDAY))}]")

_SPACED = re.compile(r"(?<!\]:) (?=[^\x00-\x7f])")


def estimate(texts: Sequence[str]) -> list[int]:
    """Return upper bounds of the token counts under Qwen's byte-level BPE, about 1.5 times the true ones.

    A byte-level BPE never needs more tokens than bytes; an everyday character never more than one. What remains
    (rare characters, emoji) is counted by its bytes, after the normalisation that the tokenizer begins with. A space
    can take the first byte of the character after it into a token of its own and so cost one more; after a line's
    speaker "]:" saves that.
    """
    joined = "".join(texts)
    lengths = list(map(len, texts))
    if joined.count(" ") > joined.count("]: "):
        lengths = [n + len(_SPACED.findall(text)) for n, text in zip(lengths, texts, strict=True)]
    costly = set(_COSTLY.findall(joined))
    if not costly:
        return lengths
    extra = {char: len(unicodedata.normalize("NFC", char).encode("utf-8", "surrogatepass")) - 1 for char in costly}
    if len(costly) > 16:
        return [n + sum(map(extra.__getitem__, _COSTLY.findall(text))) for n, text in zip(lengths, texts, strict=True)]
    # Most meetings hold a handful of them, and str.count is many times as fast as a search by pattern.
    return [n + sum(text.count(c) * more for c, more in extra.items()) for n, text in zip(lengths, texts, strict=True)]


def tokenizer_counter(folder: str | Path) -> Counter:
    """Return a counter that uses ``folder/tokenizer.json``.

    Raises:
        InputError: the file is missing or no tokenizer.
    """
    from tokenizers import Tokenizer

    file = Path(folder) / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust side raises bare Exception
        raise InputError(
            f"读不了分词器 {file}（{error}）；请检查 --tokenizer 是否指向模型文件夹。",
            f"Can't read the tokenizer {file} ({error}); does --tokenizer name a model's folder?",
        ) from None

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return count
