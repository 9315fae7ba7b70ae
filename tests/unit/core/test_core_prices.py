"""Prices of models: the table, the user's own, costs in whole micro-dollars."""

import importlib.metadata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.errors import DefinitionError
from perdure.core.model import Usage
from perdure.core.price_table import DATE, TABLE
from perdure.core.prices import FREE, MICRO, Price, Rates, check_prices, price_of, priced
from perdure.providers.catalogue import PROVIDERS


@pytest.mark.parametrize(
    ("model", "dollars_in", "dollars_out"),
    [
        ("openai/gpt-4o-mini", 0.15, 0.6),
        ("openai/GPT-4o-mini", 0.15, 0.6),
        ("azure_openai/gpt-4o-mini", 0.15, 0.6),
        ("anthropic/claude-3-haiku-20240307", 0.25, 1.25),
        ("anthropic/claude-opus-5-5", 4, 20),
        ("anthropic/claude-opus-5-5-20261001", 4, 20),
        ("anthropic/claude-sonnet-4-5", 3, 15),
        ("aws_bedrock/global.anthropic.claude-opus-5-5-v1:0", 4, 20),
        ("aws_bedrock/amazon.nova-micro-v1:0", 0.035, 0.14),
        ("google_gemini/gemini-2.5-pro", 1.25, 10),
        ("vertex_ai/gemini-2.5-pro", 1.25, 10),
        ("vertex_ai/claude-3-haiku@20240307", 0.25, 1.25),
    ],
)
def test_known_models_have_their_price(model: str, dollars_in: float, dollars_out: float):
    """A model is found by name, by what its name begins with, behind a date, and at who else sells it."""
    price = price_of(model)
    assert price is not None
    assert (price.base.input, price.base.output) == (round(dollars_in * MICRO), round(dollars_out * MICRO))


@pytest.mark.parametrize(
    "model",
    ["openai/no-such-model", "openai_compatible/gpt-4o", "huggingface/meta/llama", "nobody/gpt-4o", "gpt-4o", "", "openai/"],
)  # fmt: skip
def test_an_unknown_model_has_no_price(model: str):
    """What is not in the table has no price, and none is guessed."""
    assert price_of(model) is None


def test_a_speech_model_is_not_the_text_model_of_its_family():
    """A rule with an exception does not take in what is excepted."""
    assert price_of("google_gemini/gemini-2.5-pro-preview-tts") != price_of("google_gemini/gemini-2.5-pro")


def test_what_runs_on_ones_own_machine_is_free():
    """The mock model and Ollama's cost nothing, and a price of the user's comes first there too."""
    assert price_of("mock/echo") == price_of("ollama/llama3") == FREE
    assert FREE.cost(Usage(10**9, 10**9)) == 0
    assert price_of("ollama/llama3", {"ollama/llama3": {"input": 1, "output": 2}}) == Price(
        Rates(MICRO, 2 * MICRO)
    )


def test_the_users_price_comes_before_the_tables():
    """An override counts for its model alone, with rates for the cache if it has them."""
    mine = {"openai/gpt-4o-mini": {"input": 9, "output": 8.5, "cache_read": 0.25}}
    assert price_of("openai/gpt-4o-mini", mine) == Price(Rates(9_000_000, 8_500_000, 250_000))
    assert price_of("openai/gpt-4o", mine) == price_of("openai/gpt-4o")


@pytest.mark.parametrize(
    "values",
    [
        {"input": 1},
        {"output": 1},
        {},
        {"input": -1, "output": 1},
        {"input": float("nan"), "output": 1},
        {"input": 1, "output": float("inf")},
        {"input": 1e9, "output": 1},
        {"input": 1, "output": 1, "inputs": 1},
    ],
)
def test_a_price_that_is_none_is_refused(values: dict):
    """A user's price needs both rates, finite and from 0, and nothing else."""
    for call in (
        lambda: check_prices({"a/b": values}, "the agent x"),
        lambda: price_of("a/b", {"a/b": values}),
    ):
        with pytest.raises(DefinitionError) as caught:
            call()
        assert caught.value.code == "E0106"
    with pytest.raises(DefinitionError, match="no provider/model"):
        check_prices({"gpt-4o": {"input": 1, "output": 1}}, "the agent x")
    check_prices({"a/b": {"input": 0, "output": 0}}, "the agent x")


def test_a_cost_is_rounded_up_and_counts_the_cache():
    """Cached tokens are part of the input and have rates of their own."""
    price = Price(Rates(2 * MICRO, 10 * MICRO, MICRO // 2, 3 * MICRO))
    assert price.cost(Usage(100, 10)) == 300
    assert price.cost(Usage(100, 10, cache_read_tokens=40, cache_write_tokens=20)) == 40 * 2 + 20 + 60 + 100
    assert Price(Rates(1, 0)).cost(Usage(1)) == 1
    assert Price(Rates(MICRO, 0)).cost(Usage(10, cache_read_tokens=4, cache_write_tokens=4)) == 10


def test_a_long_request_pays_the_rates_of_its_tier():
    """Over a threshold every token of the request is charged at the tier's rates, and the highest tier counts."""
    price = Price(
        Rates(MICRO, MICRO), ((100, Rates(2 * MICRO, 3 * MICRO)), (200, Rates(5 * MICRO, 5 * MICRO)))
    )
    assert price.cost(Usage(100, 1)) == 101
    assert price.cost(Usage(101, 1)) == 205
    assert price.cost(Usage(201, 1)) == 1_010


RATES = st.builds(
    Rates,
    st.integers(0, 10**8),
    st.integers(0, 10**8),
    st.none() | st.integers(0, 10**8),
    st.none() | st.integers(0, 10**8),
)


@given(
    st.builds(Price, RATES, st.lists(st.tuples(st.integers(0, 1000), RATES), max_size=2).map(lambda t: tuple(sorted(t, key=lambda x: x[0])))),
    st.integers(0, 2000),
    st.integers(0, 2000),
    st.data(),
)  # fmt: skip
def test_no_call_costs_more_than_its_worst(
    price: Price, given_tokens: int, written: int, data: st.DataObject
):
    """However its input is split over the cache, a call costs at most `worst_cost`."""
    read = data.draw(st.integers(0, given_tokens))
    write = data.draw(st.integers(0, given_tokens - read))
    usage = Usage(
        given_tokens, data.draw(st.integers(0, written)), cache_read_tokens=read, cache_write_tokens=write
    )
    assert 0 <= price.cost(usage) <= price.worst_cost(given_tokens, written)


def test_a_call_gets_its_cost():
    """What a call cost is rounded up; a call without a price is counted, and what is free is neither."""
    price = Price(Rates(MICRO, 2 * MICRO))
    used = Usage(10, 5)
    assert priced(used, price) == Usage(10, 5, cost_micro=20)
    assert priced(Usage(1, 0), Price(Rates(1, 1))).cost_micro == 1
    assert priced(used, None) == Usage(10, 5, unpriced_calls=1)
    assert priced(used, FREE) == used


@pytest.mark.parametrize("before", [Usage(1, 1, cost_micro=7), Usage(1, 1, unpriced_calls=1)])
def test_a_cost_that_is_known_is_not_worked_out_again(before: Usage):
    """An answer from a recording keeps the cost that it had, whatever the prices are now."""
    assert priced(before, Price(Rates(MICRO, MICRO))) == priced(before, None) == before


def test_a_free_call_is_written_as_before_and_an_old_one_is_read():
    """A usage without a cost has no field for it, and a journal without these fields is one without costs."""
    written = msgspec.json.encode(priced(Usage(10, 5), price_of("mock/echo")))
    assert written == b'{"input_tokens":10,"output_tokens":5}'
    assert msgspec.json.decode(written, type=Usage) == Usage(10, 5)


def test_every_row_of_the_table_is_read():
    """The table is of known providers, and each of its models has a price."""
    assert set(TABLE) <= {provider.name for provider in PROVIDERS}
    assert DATE >= "2026-11-25"
    for provider, rows in TABLE.items():
        for row in rows.strip().splitlines():
            for name in row.partition(" : ")[2].split():
                if name[0] not in "^~$!" and "&" not in name:
                    assert price_of(f"{provider}/{name}") is not None


def test_the_table_says_what_its_source_says():
    """Where the installed source is the table's own version, both find the same price for every plain name."""
    genai_prices = pytest.importorskip("genai_prices")
    from genai_prices.data import providers as sources

    from perdure.core import price_table

    if f"genai-prices {importlib.metadata.version('genai-prices')} " not in (price_table.__doc__ or ""):
        pytest.skip("the table was made from another version")
    assert genai_prices
    openai = next(p for p in sources if p.id == "openai")
    compared = 0
    for row in TABLE["openai"].strip().splitlines():
        for name in row.partition(" : ")[2].split():
            model = openai.find_model(name)
            if name[0] in "^~$!" or model is None or isinstance(model.prices, list):
                continue
            price = price_of(f"openai/{name}")
            theirs = model.prices.input_mtok
            assert price is not None
            assert price.base.input == round(float(getattr(theirs, "base", theirs)) * MICRO), name
            compared += 1
    assert compared > 50
