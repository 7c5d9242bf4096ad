"""The training loop against a loop written out by hand; what it obeys, what it reports, and what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from proxy_training import START, documents, sample, settings, streams, tiny_shapes, tokenizer

from curate.causal_lm import SHAPES
from curate.errors import ConfigError, CurateError, InputError
from curate.proxy import Draws, Fixed, LiveMixture, Streams, Trained, evaluate, new_model, train, training
from curate.proxy.reference import by_step, train_reference
from curate.scorers.scorer import FitAid
from pipelines import texts

pytestmark = pytest.mark.usefixtures(tiny_shapes.__name__)


class Alternating:
    """All of one domain, then all of the other, then a third and two thirds; writes down who called in which order."""

    shares = (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1 / 3, 2 / 3]))

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()

    def proportions(self, step: int) -> np.ndarray:
        self.events.append(("asked", step))
        return self.shares[step % 3]

    def observe(self, step: int, nats_D: np.ndarray, n_predicted_D: np.ndarray) -> None:
        self.events.append(("observed", step, nats_D.tolist(), n_predicted_D.tolist()))
        self.threads.add(torch.get_num_threads())

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        raise AssertionError("nothing was saved")


def model(**changes: Any) -> Any:
    return new_model(settings(**changes), tokenizer().vocab_size, START)


def trained(mixture: LiveMixture | None = None, n_steps: int | None = None, **changes: Any) -> Trained:
    """Trained on the sample in natural proportion, unless told otherwise."""
    return train(model(**changes), streams(), mixture or Fixed(streams().natural), settings(**changes), n_steps=n_steps)


def weights(of: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in of.state_dict().items()}


def same_bits(one: Trained, other: Trained) -> bool:
    a, b = weights(one.model), weights(other.model)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) and one.losses.equals(other.losses)


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    first = trained(seed=4)
    assert first.n_steps == 8
    assert first.n_tokens == 4096
    assert same_bits(first, trained(seed=4))
    other = trained(seed=5)
    assert not same_bits(first, other)
    assert first.losses["nats"].to_pylist() != other.losses["nats"].to_pylist()


def test_a_look_after_every_step_sees_its_weights_and_changes_nothing():
    seen: list[tuple[int, torch.Tensor]] = []

    def look(step: int, of: Any) -> None:
        of.eval()
        seen.append((step, weights(of)["model.norm.weight"]))
        of.train()

    looked = train(model(), streams(), Fixed(streams().natural), settings(), after_step=look)
    assert [step for step, _ in seen] == list(range(1, 9))
    assert torch.equal(seen[-1][1], weights(looked.model)["model.norm.weight"])
    assert not torch.equal(seen[0][1], seen[1][1])
    assert same_bits(looked, trained())


def test_initial_weights_are_of_the_seed_and_the_callers_generator_is_left_alone():
    torch.manual_seed(77)
    wanted = torch.rand(3)
    torch.manual_seed(77)
    one, same, other = model(seed=1), model(seed=1), model(seed=2)
    assert torch.equal(torch.rand(3), wanted)
    a, b, c = (weights(m)["model.embed_tokens.weight"] for m in (one, same, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


class ByHand:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101, Algorithm 2) after a clip, with the learning rate written out."""

    def __init__(self, of: Any, given: Any, n_steps: int) -> None:
        self.model, self.given, self.n_steps = of.train(), given, n_steps
        self.moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in of.named_parameters()}

    def rate(self, step: int) -> float:
        g = self.given
        rising = max(1, round(g.warmup * self.n_steps))
        if step < rising:
            return g.learning_rate * (step + 1) / rising
        cosine = math.cos(math.pi * (step - rising) / (self.n_steps - rising))
        return g.learning_rate * (g.final_share + (1 - g.final_share) * (1 + cosine) / 2)

    def step(self, step: int, rows: torch.Tensor) -> tuple[float, float]:
        """(mean nats per token, norm of the gradient)."""
        g, rate = self.given, self.rate(step)
        loss = self.model(input_ids=rows, labels=rows).loss
        self.model.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.double().pow(2).sum()) for p in self.model.parameters()))
        scale = min(1.0, g.clip / (norm + 1e-6))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                gradient = p.grad * scale
                first, second = self.moments[name]
                first.mul_(g.beta1).add_((1 - g.beta1) * gradient)
                second.mul_(g.beta2).add_((1 - g.beta2) * gradient * gradient)
                if p.ndim > 1:
                    p.mul_(1 - rate * g.weight_decay)
                unbiased = first / (1 - g.beta1 ** (step + 1)), second / (1 - g.beta2 ** (step + 1))
                p.sub_(rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8))
        return loss.item(), norm


@pytest.mark.parametrize("family", ["llama", "pythia"])
def test_the_loop_is_a_plain_adamw_loop_over_the_same_rows(family):
    """Tied and untied tables; gradients of this size are clipped at some steps and not at others."""
    given = settings(size=f"{family}-tiny", clip=1.2, weight_decay=0.5, warmup=0.3, final_share=0.2)
    n_steps, draws, mixture = 8, Draws(streams(), 32, 0), Alternating()
    plain = ByHand(model(size=f"{family}-tiny"), given, n_steps)
    expected = []
    for step in range(n_steps):
        rows = draws.batch(mixture.proportions(step), 16).rows
        expected.append((*plain.step(step, torch.from_numpy(rows)), plain.rate(step)))
    found = train(model(size=f"{family}-tiny"), streams(), Alternating(), given, n_steps=n_steps)
    steps = by_step(found.losses)
    assert steps["loss"].to_pylist() == pytest.approx([e[0] for e in expected], abs=1e-5)
    norms = [e[1] for e in expected]
    assert min(norms) < given.clip < max(norms)
    assert steps["gradient_norm"].to_pylist() == pytest.approx(norms, rel=1e-5)
    assert steps["learning_rate"].to_pylist() == pytest.approx([e[2] for e in expected], rel=1e-12)
    for name, right in weights(plain.model).items():
        torch.testing.assert_close(weights(found.model)[name], right, rtol=0, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("tokens_at_once", [32, 96, 500])
def test_gradients_gathered_in_slices_are_those_of_the_whole_batch(monkeypatch, tokens_at_once):
    whole = trained()
    shapes = []
    monkeypatch.setitem(training.FORWARD_TOKENS, "cpu", tokens_at_once)
    forward = transformers.LlamaModel.forward
    monkeypatch.setattr(transformers.LlamaModel, "forward", lambda self, ids, **k: shapes.append(len(ids)) or forward(self, ids, **k))
    sliced = trained()
    at_once = tokens_at_once // 32
    assert shapes[: -(-16 // at_once)] == [*[at_once] * (16 // at_once), *([16 % at_once] if 16 % at_once else [])]
    assert len(shapes) == 8 * -(-16 // at_once)
    assert sliced.losses["nats"].to_pylist() == pytest.approx(whole.losses["nats"].to_pylist(), rel=1e-6)
    for name, right in weights(whole.model).items():
        torch.testing.assert_close(weights(sliced.model)[name], right, rtol=0, atol=1e-5)


def test_the_learning_rate_rises_to_its_peak_and_falls_by_half_a_cosine():
    given = settings(learning_rate=0.8, warmup=0.2, final_share=0.5)
    # Two steps of ten rise; of the eight others the fifth stands in the middle of the cosine.
    assert [given.rate(step, 10) for step in (0, 1, 2, 6)] == pytest.approx([0.4, 0.8, 0.8, 0.6])
    assert given.rate(9, 10) == pytest.approx(0.4 + 0.4 * (1 + math.cos(math.pi * 7 / 8)) / 2)
    assert [settings(learning_rate=0.8, warmup=0.0).rate(step, 1) for step in (0,)] == [0.8]
    constant = settings(learning_rate=0.8, warmup=0.0, final_share=1.0)
    assert [constant.rate(step, 7) for step in range(7)] == pytest.approx([0.8] * 7)
    falling = [given.rate(step, 50) for step in range(10, 50)]
    assert falling == sorted(falling, reverse=True)


def test_a_mixture_that_changes_each_step_is_obeyed_and_sees_each_loss_before_it_is_asked_again():
    mixture = Alternating()
    found = trained(mixture, n_steps=6)
    assert [event[:2] for event in mixture.events] == [(what, step) for step in range(6) for what in ("asked", "observed")]
    rows = found.losses.to_pylist()
    drawn = {(row["step"], row["domain"]): row for row in rows}
    assert len(rows) == len(drawn) == 8
    for step in range(6):
        shares = Alternating.shares[step % 3]
        _, _, nats, n_predicted = mixture.events[2 * step + 1]
        for d, domain in enumerate(streams().domains):
            row = drawn.get((step, domain))
            if shares[d] == 0:
                assert row is None
                assert nats[d] == n_predicted[d] == 0
                continue
            assert row["nats"] == nats[d]
            assert row["n_predicted"] == n_predicted[d] == 32 * row["n_rows"]
            assert row["proportion"] == shares[d]
            assert abs(row["n_rows"] - 16 * shares[d]) < 1
    n_rows = [sum(row["n_rows"] for row in rows if row["domain"] == domain) for domain in streams().domains]
    per_epoch = streams().n_tokens // 32
    assert found.epochs.tolist() == (np.array(n_rows) / per_epoch).tolist()


def test_the_table_of_losses_conserves_rows_and_tokens():
    found = trained()
    assert found.losses.schema.equals(training.LOSSES, check_metadata=True)
    sums = found.losses.group_by("step").aggregate([("n_rows", "sum"), ("n_predicted", "sum")]).sort_by("step")
    assert sums["step"].to_pylist() == list(range(8))
    assert sums["n_rows_sum"].to_pylist() == [16] * 8
    assert sums["n_predicted_sum"].to_pylist() == [512] * 8
    assert by_step(found.losses)["learning_rate"].to_pylist() == [settings().rate(step, 8) for step in range(8)]
    # The first step's rows are the untrained model's loss on the first batch.
    batch = Draws(streams(), 32, 0).batch(streams().natural, 16)
    rows = torch.from_numpy(batch.rows)
    nats = torch.nn.functional.cross_entropy(model()(rows[:, :-1]).logits.transpose(1, 2), rows[:, 1:], reduction="none").sum(1)
    by_domain = np.bincount(batch.domain, nats.detach().double().numpy())
    assert found.losses["nats"].to_pylist()[:2] == pytest.approx(by_domain.tolist(), rel=1e-6)
    steps = by_step(found.losses)
    assert steps["tokens"].to_pylist() == [512 * (step + 1) for step in range(8)]
    first = found.losses.slice(0, 2)
    assert steps["loss"][0].as_py() == pytest.approx(sum(first["nats"].to_pylist()) / 512, rel=1e-12)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_can_be_learned_is_learned(precision):
    """Text that repeats itself: from ln 300 nats to below two."""
    column = ["one two three four five six seven eight nine ten. " * 6] * 10
    made = Streams.of(documents(count=column), tokenizer(), START)
    given = settings(learning_rate=1e-2, precision=precision)
    losses = by_step(train(model(), made, Fixed(np.ones(1)), given, n_steps=40).losses)["loss"].to_pylist()
    assert losses[0] == pytest.approx(math.log(tokenizer().vocab_size), abs=0.2)
    assert losses[-1] < 2.0


def test_a_loss_that_is_no_number_names_step_domain_and_document():
    """One character of one document has an embedding of no number: the step that draws it is the one that is named."""
    column = [text.replace("Q", "q") for text in texts(12, 3)]
    column[7] = f"Q {column[7]}"
    other = [text.replace("Q", "q") for text in texts(12, 4)]
    table = documents(a=other, b=column)
    made = Streams.of(table, tokenizer(), START)
    letter = int(tokenizer().encode_arrow(pa.array(["Q"], pa.large_string()))[0][0])
    broken = model(size="pythia-tiny")
    with torch.no_grad():
        broken.gpt_neox.embed_in.weight[letter] = math.nan
    draws, step = Draws(made, 32, 0), 0
    while not (draws.batch(np.array([0.5, 0.5]), 16).rows[:, :-1] == letter).any():
        step += 1
    assert step > 0
    with pytest.raises(CurateError) as raised:
        train(broken, made, Fixed(np.array([0.5, 0.5])), settings(size="pythia-tiny"), n_steps=40)
    error = raised.value
    assert f"step {step} of 40" in str(error)
    assert "domain 'b'" in str(error.where)
    assert table["doc_id"][12 + 7].as_py().hex() in str(error.where)
    assert "learning_rate" in str(error.fix)


def test_a_learning_rate_beyond_all_measure_is_found_out():
    with pytest.raises(CurateError, match="no longer a number at step"):
        trained(learning_rate=1e30, clip=1e30, n_steps=20)


def test_gradients_that_are_no_numbers_are_found_where_the_loss_is_one(monkeypatch):
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a: clip(*a) * math.inf)
    with pytest.raises(CurateError, match="no longer a number at step 0"):
        trained()


def test_too_little_text_says_how_much_is_needed():
    made = Streams.of(documents(a=["a few words", "and no more"]), tokenizer(), START)
    with pytest.raises(InputError, match="too small to train on") as raised:
        train(model(), made, Fixed(np.ones(1)), settings())
    assert str(4 * 33) in str(raised.value.expected)
    assert "fraction" in str(raised.value.fix)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": "pythia-15m"}, "size"),
        ({"tokenizer": "a", "tokenizer_of": "b"}, "tokenizer_of"),
        ({"fraction": 1.0}, "fraction"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"vocab_size": 200}, "vocab_size"),
        ({"context": 4}, "context"),
        ({"batch_tokens": 16}, "batch_tokens"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"warmup": 1.0}, "warmup"),
        ({"final_share": 1.5}, "final_share"),
        ({"beta2": 1.0}, "beta2"),
        ({"clip": 0}, "clip"),
        ({"threads": 0}, "threads"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(changes, named):
    settings().check("train")
    with pytest.raises(ConfigError) as raised:
        settings(**changes).check("train")
    assert raised.value.where == f"train.{named}"


def test_steps_follow_from_tokens_parameters_and_epochs():
    assert settings(tokens=5000).n_steps(10**6, 10**9) == 10
    assert settings(tokens=None).n_steps(51_200, 10**9) == 2000
    assert settings(tokens=None, max_epochs=2.0).n_steps(10**6, 5120) == 20
    assert settings(tokens=10, max_epochs=0.01).n_steps(10**6, 5120) == 1


def test_the_callers_number_of_threads_comes_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        mixture = Alternating()
        trained(mixture, n_steps=3)
        assert mixture.threads == {1}
        assert torch.get_num_threads() == 3
        with pytest.raises(CurateError):
            trained(learning_rate=1e30, clip=1e30, n_steps=20)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_progress_is_reported_at_the_end_at_least():
    heard: list[training.Progress] = []
    found = train(model(), streams(), Fixed(streams().natural), settings(), report=heard.append)
    last = heard[-1]
    assert (last.step, last.n_steps, last.n_tokens, last.seconds_left) == (8, 8, 4096, 0.0)
    assert last.loss == pytest.approx(by_step(found.losses)["loss"][-1].as_py())
    assert last.tokens_per_second > 0


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_number_of_parameters_of_a_shape_is_that_of_the_model(name):
    with torch.device("meta"):
        made = transformers.AutoModelForCausalLM.from_config(SHAPES[name].config(1000, 64, 0))
    assert SHAPES[name].n_parameters(1000) == made.num_parameters() == sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize("family", ["llama", "pythia"])
def test_what_was_trained_opens_with_transformers_alone_and_gives_the_same_loss(tmp_path, family):
    heard: list[tuple[float, float, str, str]] = []
    aid = FitAid(tell=lambda *told: heard.append(told))
    found = train_reference(sample(), settings(size=f"{family}-tiny"), tmp_path, aid)
    opened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(tensor, weights(opened)[name]) for name, tensor in weights(found.model).items())
    encode = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert encode.bos_token == "<|endoftext|>"
    table = documents(words=[text[:60] for text in texts(4, 30)])
    ids = [encode(text, return_tensors="pt")["input_ids"] for text in table["text"].to_pylist()]
    rows = [torch.cat([torch.tensor([[encode.bos_token_id]]), row], 1) for row in ids]
    nats = sum(opened(input_ids=row, labels=row).loss.item() * (row.shape[1] - 1) for row in rows)
    sums = evaluate(found.model, tokenizer(), table, start_id=START, context=64)
    assert sums["n_predicted"].to_pylist() == [sum(row.shape[1] for row in ids)]
    assert sums["nats"][0].as_py() == pytest.approx(nats, rel=1e-6)
    assert pq.read_table(tmp_path / "domain_losses.parquet").equals(found.losses)
    assert pq.read_table(tmp_path / "losses.parquet").equals(by_step(found.losses))
    facts = json.loads((tmp_path / "training.json").read_text())
    assert facts["n_parameters"] == sum(p.numel() for p in opened.parameters())
    assert facts["domains"]["words"]["n_tokens"] == int(streams().n_tokens[1])
    assert heard[-1][:3] == (4096, 4096, "tokens")
    assert "step 8 of 8" in heard[-1][3]


def test_a_borrowed_tokenizer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="'mine' is not there"):
        train_reference(sample(), settings(tokenizer_of="mine"), tmp_path, FitAid())


def test_stratified_training_draws_domains_alike(tmp_path):
    found = train_reference(sample(), settings(stratified=True), tmp_path, FitAid())
    assert set(found.losses["proportion"].to_pylist()) == {0.5}
    assert set(found.losses["n_rows"].to_pylist()) == {8}
