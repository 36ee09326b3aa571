"""Tiny models with random weights, made here: nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "a", "mat")
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def tokenizer() -> Any:
    """A tokenizer that knows ten words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def save_tokenizer(folder: Path) -> None:
    """Save it as Transformers does."""
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), **special, padding_side="left")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def save(model: Any, folder: Path) -> Path:
    """Save a model with the tokenizer."""
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder
