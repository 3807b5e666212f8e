#!/usr/bin/env python3
"""Make tests/golden/tokenizers: small vocabularies, and what reference implementations make of texts.

    pip install tokenizers==0.23.3 unicodedata2==16.0.0
    MICA_WEIGHTS=... tests/golden/make_tokenizers.py

The reference is the library `tokenizers`, and for llama2.c's form its definition (merge the best pair
until none is left). Texts on which that library follows older tables of Unicode are left out: BERT's
categories and CLIP's combining classes there are years old, and its range of ideographs has a gap
(U+2B820 to U+2B91F) that the original does not have.
"""
import functools
import gzip
import json
import os
import random
import struct

import unicodedata2 as u
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
WEIGHTS = os.environ["MICA_WEIGHTS"]

CORPUS = """The quick brown fox jumps over the lazy dog. It's what we'd call a pangram, isn't it?
They've said they'll come at 10:45; I'm not sure. Numbers: 1, 22, 333, 4444, 1999, 2024.
naïve café résumé, Ελληνικά, русский язык, עברית, العربية, हिन्दी, 日本語, 한국어, emoji 😀.
the then there these they this that than thing think three through word words wording worded
learn learns learned learning train trains trained training represent representation represents
    indented text    with    runs of spaces\tand tabs
""".split("\n")

TEXTS = [
    "", " ", "  ", "\n", "\t\n \r\n", "a", " a", "a ", "  a  b  ", "Hello, World!", "hello world", "HELLO WORLD",
    "It's we'll they'd I'm you've can't he're 's 'S 'LL don’t", "'", "''", "'' s", "'s's 't",
    "1234567890", "3.14159", "1,000,000", "x=1;y=2", "½ ² Ⅷ ٣ ५", "a1b2c3", "foo_bar-baz/qux",
    "The quick brown fox jumps over the lazy dog.", "naïve café résumé", "na\u0131ve", "İstanbul IĞDIR ı",
    "cafe\u0301 e\u0301\u0327 e\u0327\u0301", "a\u0300\u0316\u0300\u0316b", "\u0301", " \u0301x", "Å Å Å", "ﬁ ﬂ ﬃ ﬆ",
    "ΑΣ ΣΑΣ σς ΌΔΟΣ", "ẞ ß STRASSE straße", "Ǆ ǅ ǆ", "Ω Ω K K", "русский Ёлка ёж Й", "ԱՐԵՒ", "Ⴀ ა Ა ᲀ",
    "עברית שָׁלוֹם", "العربية مَرْحَبًا", "\u200fRTL\u200e mark\u202e abc\u202c", "हिन्दी क्षत्रिय", "ภาษาไทยไม่มีช่องว่าง",
    "日本語のテキスト", "中文字符測試。", "中a文1字", "한국어 텍스트", "\u1112\u1161\u11ab\u1100\u1173\u11af", "㐀𠀀𪜀豈丽",
    "Ｆｕｌｌ ｗｉｄｔｈ！１２", "ｶﾞ ガ ガ", "😀", "👨‍👩‍👧‍👦 family", "👍🏽👍", "🇩🇪🇫🇷", "❤️ ❤", "a😀b", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "zero\u200bwidth\u200djoiner\u2060word", "soft\u00adhyphen", "nbsp\u00a0thin\u2009ideo\u3000em\u2003", "a\u2028b\u2029c",
    "\u0085next\u001cline\u000bvt\u000cff", "bell\u0007 esc\u001b del\u007f", "\ufeffbom", "\ufffd replaced \ufffd",
    "private \ue000 \U000f0000 use", "noncharacter \uffff \U0010ffff", "unassigned \u0378 \U00040000",
    "$100 £5 €3 ¥2 ₿1", "a+b=c^d~e`f|g<h>i", "“quotes” ‘single’ «guillemets» „low“", "en–dash em—dash … ¿qué? ¡sí!",
    "https://example.org/path?query=1&x=%20#frag", "user@example.com", "C:\\path\\file.txt", "<html>&amp;</html>",
    "<|endoftext|> [CLS] [SEP] <s> </s> <unk> [MASK]", "##ing ##", "[UNK]", "</w>", "Ġthe", "▁the", "<0x0A>",
    "def f(x):\n    return x ** 2  # comment\n\n\n", "\tif (a && b) {\r\n\t}\r\n", " \n \n  x", "x\n\n\n y", "end with spaces   ",
    "a" * 99, "a" * 100, "a" * 101, "ab" * 150, "é" * 60, "é" * 101, "!" * 40, "." * 7 + "x", "9" * 30, "中" * 20, " " * 33 + "x",
    "supercalifragilisticexpialidocious antidisestablishmentarianism", "electroencephalographically",
    "Zalgo: h\u0300\u0301\u0302\u0303e\u0304\u0305\u0306l\u0307\u0308\u0309l\u030a\u030b\u030co\u030d\u030e\u030f",
    "\U0001d15e\U0001d160", "\u0344 \u0958 \u2adc \u0f43", "ÀÁÂÃÄÅ àáâãäå ĀāĂ", "Việt Nam tiếng Việt", "ŁÓDŹ łódź", "þÞðÐæÆœŒøØ",
    "𝐁𝐨𝐥𝐝 𝒮𝒸𝓇 ℝ ℕ", "x\u0338= ≠", "𐐀𐐨 𞤀𞤢", "\u1e9e", "\u0345\u03b1", "Once upon a time, there was a little girl named Lily.",
]


def random_texts(n):
    r = random.Random(4)
    assigned = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000 and u.category(chr(c)) not in ("Cn", "Co")]
    pools = [range(32, 127), range(97, 123), [9, 10, 13, 32, 32, 32, 0xA0, 0x2028, 0x3000], range(0xC0, 0x250),
             list(range(0x300, 0x370)) + list(range(97, 110)), range(0x370, 0x480), range(0x5D0, 0x6FF), range(0x900, 0xE80),
             range(0xAC00, 0xAD00), range(0x3040, 0x3100), range(0x4E00, 0x4F00), range(0x1F600, 0x1F650),
             [ord(c) for c in "'stremvld 'S"], range(0x1E00, 0x2070), assigned, range(0x30, 0x3A)]
    out = []
    for _ in range(n):
        parts = []
        for _ in range(r.randint(1, 5)):
            pool = r.choice(pools)
            parts += [chr(r.choice(pool)) for _ in range(r.choice([1, 2, 4, 8]))]
            if r.random() < 0.4:
                parts.append(r.choice([" ", "n't ", "'ll ", "\n\n", "  "]))
        out.append("".join(parts))
    return out


# ---- where the library's tables are old ----

clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
strip = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
cut = pre_tokenizers.BertPreTokenizer()


@functools.lru_cache(None)
def bert_is_old(c):
    if 0x2B820 <= ord(c) < 0x2B920:
        return True
    for x in u.normalize("NFD", c):
        category = u.category(x)
        control = (category in ("Cc", "Cf", "Co") and x not in "\t\n\r") or x in "\0\ufffd"
        visible = 33 <= ord(x) < 127 and not x.isalnum()
        if control != (clean.normalize_str(x) == ""):
            return True
        if (category == "Mn") != (strip.normalize_str(x) == ""):
            return True
        if (visible or category[0] == "P") != (len(cut.pre_tokenize_str("a" + x + "b")) == 3):
            return True
    return False


def usable(name, text):
    if "bert" in name or "wordpiece" in name:
        return not any(bert_is_old(c) for c in text)
    if "clip" in name:
        return normalizers.NFC().normalize_str(text) == u.normalize("NFC", text)
    return True


# ---- the references ----

def byte_characters():
    order = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in order]
    return [chr(b) for b in order] + [chr(256 + i) for i in range(len(rest))]


def wordpiece(model, lowercase):
    t = Tokenizer(model)
    t.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return t


def bpe(model):
    t = Tokenizer(model)
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return t


def clip(model):
    t = Tokenizer(model)
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return t


def llama2c(path):
    data = open(path, "rb").read()
    pieces, scores, at = [], [], 4
    while at < len(data):
        score, n = struct.unpack_from("<fi", data, at)
        pieces.append(data[at + 8:at + 8 + n])
        scores.append(score)
        at += 8 + n
    number = {p: i for i, p in reversed(list(enumerate(pieces)))}

    def encode(text):
        data = text.encode()
        ids = [number[b" "]] if data else []
        for c in text:
            c = c.encode()
            ids += [number[c]] if c in number else [b + 3 for b in c]
        while True:
            pairs = [number.get(pieces[a] + pieces[b], -1) for a, b in zip(ids, ids[1:])]
            best = max((i for i in range(len(pairs)) if pairs[i] >= 0), key=lambda i: (scores[pairs[i]], -i), default=-1)
            if best < 0:
                return ids
            ids[best:best + 2] = [pairs[best]]

    return encode


def small():
    """Train small vocabularies and write them in each form of file."""
    t = wordpiece(models.WordPiece(unk_token="[UNK]"), True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    pieces = sorted(t.get_vocab(), key=t.get_vocab().get)
    with open(f"{HERE}/wordpiece.txt", "w", encoding="utf-8") as f:
        f.write("".join(p + "\n" for p in pieces))
    plain_t = wordpiece(t.model, True)  # without the added tokens: their spellings are mere text
    yield "wordpiece.txt", lambda s: plain_t.encode(s).ids

    cased = wordpiece(models.WordPiece(unk_token="[UNK]"), False)
    cased.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    cased.save(f"{HERE}/wordpiece-cased.json", pretty=False)
    plain_cased = wordpiece(cased.model, False)
    yield "wordpiece-cased.json", lambda s: plain_cased.encode(s).ids

    b = bpe(models.BPE())
    b.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    os.makedirs(f"{HERE}/bpe", exist_ok=True)
    b.model.save(f"{HERE}/bpe")
    plain = bpe(b.model)
    yield "bpe", lambda s: plain.encode(s).ids
    b.save(f"{HERE}/bpe.json", pretty=False)
    yield "bpe.json", lambda s: plain.encode(s).ids

    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" "))
              for m in json.loads(b.to_str())["model"]["merges"] if "Ġ" not in "".join(m)][:100]
    ended = [(a, c + "</w>") for a, c in merges[:60]]
    alphabet = byte_characters()
    vocabulary = alphabet + [x + "</w>" for x in alphabet]
    kept = []
    for a, c in merges + ended:
        if a in vocabulary and c in vocabulary and a + c not in vocabulary:
            vocabulary.append(a + c)
            kept.append((a, c))
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    c = clip(models.BPE({x: i for i, x in enumerate(vocabulary)}, kept, end_of_word_suffix="</w>"))
    with open(f"{HERE}/clip.txt", "w", encoding="utf-8") as f:
        f.write('"clip.txt#version: 0.2\n' + "".join(f"{a} {b}\n" for a, b in kept))
    yield "clip.txt", lambda s: c.encode(s).ids
    c.save(f"{HERE}/clip.json", pretty=False)
    yield "clip.json", lambda s: c.encode(s).ids


def published():
    folder = f"{WEIGHTS}/tokenizers"
    bert = wordpiece(models.WordPiece.from_file(f"{folder}/bert/vocab.txt", unk_token="[UNK]"), True)
    yield "tokenizers/bert", lambda s: bert.encode(s, add_special_tokens=False).ids
    gpt2 = bpe(models.BPE.from_file(f"{folder}/gpt2/encoder.json", f"{folder}/gpt2/vocab.bpe"))
    yield "tokenizers/gpt2", lambda s: gpt2.encode(s).ids
    lines = gzip.open(f"{folder}/clip/bpe_simple_vocab_16e6.txt.gz").read().decode().split("\n")[1:49152 - 256 - 2 + 1]
    merges = [tuple(x.split()) for x in lines]
    alphabet = byte_characters()
    vocabulary = alphabet + [x + "</w>" for x in alphabet] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    c = clip(models.BPE({x: i for i, x in enumerate(vocabulary)}, merges, end_of_word_suffix="</w>"))
    yield "tokenizers/clip", lambda s: c.encode(s).ids
    yield "llama2c-tinystories/tok512.bin", llama2c(f"{WEIGHTS}/llama2c-tinystories/tok512.bin")
    yield "llama2c-tinystories/tokenizer.bin", llama2c(f"{WEIGHTS}/llama2c-tinystories/tokenizer.bin")


def main():
    os.makedirs(HERE, exist_ok=True)
    texts = TEXTS + random_texts(150)
    out = {"texts": texts}
    for group in (small(), published()):
        for name, encode in group:
            out[name] = [encode(s) if usable(name, s) else None for s in texts]
    with open(f"{HERE}/cases.json", "w", encoding="ascii") as f:
        f.write("{\n" + ",\n".join(
            f'"{k}": [\n' + ",\n".join(json.dumps(x, separators=(",", ":")) for x in v) + "]" for k, v in out.items()) + "}\n")


main()
