"""The page of `sentiment` in Chromium, driven as a person would."""

import numpy as np
import pytest
from browser import (
    check_page,
    each_look,
    made,
    page_of,
    photograph,
    shares,
    started,
    type_composed,
    wait_for,
    wait_until,
)
from conftest import needs_data

from experiments import sentiment
from experiments.data.documents import Documents, load_documents, tokenize
from experiments.data.subwords import Subwords
from experiments.models import classifier

pytestmark = pytest.mark.slow
TEXT = "배우들의 연기가 훌륭하고 감동적이지만 결말이 너무 지루하다!"
ODD = [
    "",
    "  ",
    "İΣΑΣ ΌΣ",
    "a\u2581b <unk>",
    "e\u0301 ﬁ",
    "\u1112\u1161\u11ab",
    "a\u00a0c",
]


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    sizes = "--embedding-size", "64", "--hidden-size", "64", "--vocab-size", "8000"
    options = "--documents", "12000", "--epochs", "3"
    return made(tmp_path_factory, sentiment.STUDY, *sizes, *options)


@pytest.fixture(scope="module")
def explained(judge):
    """(text) -> what JAX says of it."""
    config, run, _ = judge
    subwords, _, net = sentiment.reader(config, run)
    params = run.load(net.init)

    def of(text):
        document = tokenize(subwords, Documents([text], np.zeros(1)))
        sizes = document.lengths.tolist()
        return classifier.explain(net, params, document, sizes)[0]

    return of


def check_words(page, known):
    """The colours of the words, and the answer, are those of JAX."""
    items = page.locator("#words li")
    found = items.evaluate_all(
        "all => all.map((e) => [+e.dataset.adds, +e.dataset.looks])"
    )
    adds, looks = np.array(found).T
    np.testing.assert_allclose(adds, known.contributions, atol=1e-4)
    np.testing.assert_allclose(looks, known.attention, atol=1e-4)
    p = 1 / (1 + np.exp(-known.logit))
    np.testing.assert_allclose(shares(page), [1 - p, p], atol=1e-4)


def read(page, count):
    """Until so many words are coloured."""
    wait_until(page, f"document.querySelectorAll('#words li').length === {count}")
    wait_for(page, "done")


@needs_data("nsmc")
@each_look
def test_words_are_coloured(browser, judge, explained, look):
    known = explained(TEXT)
    with page_of(browser, judge[2], look=look) as page:
        page.focus("#text")
        page.keyboard.type(TEXT)
        read(page, len(known.words))
        check_words(page, known)
        check_page(page)
        photograph(page, "sentiment", look)


@needs_data("nsmc")
def test_korean_is_read_while_it_is_composed(browser, judge, explained):
    with page_of(browser, judge[2]) as page:
        page.focus("#text")
        type_composed(page, ("ㅈ", "재"), ("ㅁ", "미"), ("ㅇ", "어", "없"))
        wait_for(page, "done")
        assert page.input_value("#text") == "재미없"
        check_words(page, explained("재미없"))


@needs_data("nsmc")
def test_a_long_text_is_coloured_to_its_end(browser, judge, explained):
    text = " ".join([TEXT, "그래도 다시 보고 싶다"] * 15)
    with page_of(browser, judge[2]) as page:
        page.fill("#text", text.replace(" ", "\n", 3))  # lines are words apart
        known = explained(text)
        read(page, len(known.words))
        check_words(page, known)
        page.get_by_role("button", name="정말 재미있고").focus()
        page.keyboard.press("Enter")
        read(page, 4)


@needs_data("nsmc", "sst2")
@pytest.mark.parametrize("name", ["nsmc", "sst2"])
def test_the_tokenizer_of_the_page_is_pythons(browser, judge, name):
    texts, rng = load_documents(name).test.texts[:1000], np.random.default_rng(0)
    texts = [*texts, *ODD]
    texts += ["".join(map(chr, rng.integers(32, 0x3400, 20))) for _ in range(100)]
    subwords = Subwords.load(judge[1].path / "subwords.json")
    if name == "sst2":
        train = load_documents(name).train.texts
        subwords = Subwords.of(train, 4000, lowercase=True)
    known = tokenize(subwords, Documents(texts, np.zeros(len(texts)))).tokens
    with page_of(browser, judge[2]) as page:
        found = page.evaluate(
            """async ([parts, texts]) => {
                const { Subwords } = await import("./subwords.js");
                const subwords = new Subwords(parts, 3);
                return texts.map((t) => subwords.words(t).flatMap((w) => w.tokens));
            }""",
            [subwords.parts, texts],
        )
    assert found == [tokens.tolist() for tokens in known]
