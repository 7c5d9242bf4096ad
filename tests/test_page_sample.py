"""The page sample: which pages, from which groups, in which shards; the same however the corpus is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sampled_corpora import SITES, ingested, write_sites

from curate.corpus import Corpus, Part
from curate.errors import InputError
from curate.evidence import page_sample
from curate.evidence.page_sample import CandidatesTask, PageSample, SampleRule
from curate.hashing import id_keys
from curate.storage import Folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("sites") / "raw")


@pytest.fixture(scope="module")
def corpora(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Corpus]:
    """The same documents in many shards and in few."""
    above = tmp_path_factory.mktemp("corpora")
    made = [ingested(raw, above / name, size) for name, size in (("many", 600), ("few", 1_000_000))]
    assert len(made[0].parts) > 6 > len(made[1].parts)
    return made


def test_an_empty_name_is_no_group(tmp_path: Path) -> None:
    """A table of losses, which is made when all models have read their pages, has a name in every row."""
    folder = Folder(str(tmp_path))
    rows = {"doc_id": [bytes([i]) * 16 for i in range(6)], "n_bytes": [1] * 6, "site": ["", "a", None, "", "a", ""]}
    with folder.create("documents/part-00000-of-00001.parquet") as out:
        pq.write_table(pa.table(rows, schema=pa.schema([("doc_id", pa.binary(16)), ("n_bytes", pa.int64()), ("site", pa.string())])), out)
    task = CandidatesTask(folder, folder, Part("part-00000-of-00001", (("web", 6, 6),), ""), SampleRule("site", 2, 1, 3))
    sample = page_sample.decide([task], [page_sample.find_candidates(task)])
    assert sample.groups.to_pylist() == ["a"]
    assert sample.counts["n_without_group"] == 4


def drawn(corpus: Corpus, scratch: Path, rule: SampleRule) -> PageSample:
    tasks = [CandidatesTask(corpus.folder, Folder(str(scratch)), part, rule) for part in corpus.parts]
    return page_sample.decide(tasks, [page_sample.find_candidates(task) for task in tasks])


def gathered(corpus: Corpus, scratch: Path, sample: PageSample, chunks: Any = None) -> pa.Table:
    folder = Folder(str(scratch))
    for shard in sample.shards:
        page_sample.gather_pages(page_sample.gather_task(corpus.folder, folder, corpus.parts, sample, shard, chunks))
    return pa.concat_tables(page_sample.read_scratch(folder, page_sample.pages_path(shard)) for shard in sample.shards)


def expected(corpus: Corpus, by: str, pages: int, seed: int) -> dict[str, set[bytes]]:
    """Ids by group, the slow way: every distinct document's key, sorted."""
    table = corpus.table(["doc_id", by])
    table = table.append_column("key", pa.array(id_keys(seed, page_sample.PURPOSE, table["doc_id"])))
    groups: dict[str, dict[bytes, int]] = {}
    for row in table.to_pylist():
        if row[by] is not None:
            groups.setdefault(str(row[by]), {})[row["doc_id"]] = row["key"]
    return {name: set(sorted(ids, key=ids.__getitem__)[:pages]) for name, ids in groups.items() if len(ids) >= pages}


@pytest.mark.parametrize(("by", "pages"), [("site", 7), ("domain", 5), ("year", 4)])
def test_pages_of_the_smallest_keys_whatever_the_type_of_the_column(corpora: list[Corpus], tmp_path: Path, by: str, pages: int) -> None:
    for i, corpus in enumerate(corpora):
        sample = drawn(corpus, tmp_path / str(i), SampleRule(by, pages, pages, 3))
        table = gathered(corpus, tmp_path / str(i), sample)
        found: dict[str, set[bytes]] = {}
        for group, doc_id in zip(table["group"].to_pylist(), table["doc_id"].to_pylist(), strict=True):
            found.setdefault(group, set()).add(doc_id)
        assert found == expected(corpus, by, pages, 3)
        assert sample.groups.to_pylist() == sorted(found)
        assert len(table) == pages * len(found)


def test_shards_hold_the_same_pages_in_the_same_order_however_the_corpus_is_cut(
    corpora: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_sample, "SHARD_BYTES", 900)
    monkeypatch.setattr(page_sample, "MERGED_AT_ONCE", 5)
    rule = SampleRule("site", 7, 7, 3)
    samples = [drawn(corpus, tmp_path / str(i), rule) for i, corpus in enumerate(corpora)]
    one, other = (gathered(corpus, tmp_path / str(i), samples[i]) for i, corpus in enumerate(corpora))
    assert one.equals(other)
    assert samples[0].shards == samples[1].shards
    assert len(samples[0].shards) > 3
    for name, pages in samples[0].shards.items():
        assert samples[0].n_bytes(name) <= 900 or pages.stop - pages.start == 1
    texts = pa.chunked_array([pieces.flatten() for pieces in one["pieces"].chunks])
    assert one["n_bytes"].to_pylist() == [len(text.encode()) for text in texts.to_pylist()]
    assert sum(samples[0].amounts()[1]) == sum(one["n_bytes"].to_pylist())


def test_what_is_left_out_is_counted(corpora: list[Corpus], tmp_path: Path) -> None:
    rows = corpora[0].table(["doc_id", "site"])
    sample = drawn(corpora[0], tmp_path, SampleRule("site", 8, 8, 3))
    assert sample.counts == {
        "n_documents": len(rows),
        "n_without_group": pc.sum(rows["site"].is_null()).as_py(),
        "n_groups_left_out": 2,
        "n_pages_left_out": SITES["c.com"] + SITES["d.io"],
        "left_out": {"c.com": 7, "d.io": 3},
    }
    assert sample.amounts()[0].tolist() == [8, 8]


def test_fewer_pages_than_are_drawn_will_do_where_the_least_is_lower_or_more_be_asked(corpora: list[Corpus], tmp_path: Path) -> None:
    lower = drawn(corpora[0], tmp_path / "lower", SampleRule("site", 10, 3, 3))
    assert dict(zip(lower.groups.to_pylist(), lower.amounts()[0].tolist(), strict=True)) == {"a.org": 10, "b.net": 9, "c.com": 7, "d.io": 3}
    higher = drawn(corpora[0], tmp_path / "higher", SampleRule("site", 2, 9, 3))
    assert dict(zip(higher.groups.to_pylist(), higher.amounts()[0].tolist(), strict=True)) == {"a.org": 2, "b.net": 2}


def test_another_seed_draws_others(corpora: list[Corpus], tmp_path: Path) -> None:
    one, other = (drawn(corpora[0], tmp_path / str(s), SampleRule("site", 5, 5, s)).table["doc_id"] for s in (3, 4))
    assert set(one.to_pylist()) != set(other.to_pylist())


def test_it_is_kept_and_read_again(corpora: list[Corpus], tmp_path: Path) -> None:
    sample = drawn(corpora[0], tmp_path, SampleRule("site", 5, 5, 3))
    sample.save(Folder(str(tmp_path)), "sample.arrow")
    again = PageSample.read(Folder(str(tmp_path)), "sample.arrow")
    assert again.table.select(sample.table.column_names).equals(sample.table)
    assert (again.groups.to_pylist(), again.counts) == (sample.groups.to_pylist(), sample.counts)
    assert np.array_equal(again.group_of_page, sample.group_of_page)


def test_a_column_of_labels_beside_the_documents(corpora: list[Corpus], tmp_path: Path) -> None:
    corpus = corpora[0]
    wanted: dict[str, int] = {}
    for part in corpus.parts:
        path = corpus.folder.local / "scores" / "kinds" / f"{part.name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = corpus.read(part, ["doc_id"])["doc_id"]
        label = np.array([i[0] % 3 for i in ids.to_pylist()], np.int16)
        pq.write_table(pa.table({"doc_id": ids, "label": label}), path)
        wanted |= {i: str(n) for i, n in zip(ids.to_pylist(), label.tolist(), strict=True)}
    sample = drawn(corpus, tmp_path, SampleRule("kinds.label", 4, 4, 3))
    assert sample.groups.to_pylist() == ["0", "1", "2"]
    table = gathered(corpus, tmp_path, sample)
    assert all(wanted[i] == group for i, group in zip(table["doc_id"].to_pylist(), table["group"].to_pylist(), strict=True))


def test_too_few_pages_everywhere_says_how_many_there_are(corpora: list[Corpus], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no group of 'site' has 25 distinct pages; the largest, 'a\.org', has 12"):
        drawn(corpora[0], tmp_path, SampleRule("site", 25, 25, 3))
