import pytest

from wdmoe_env.texts import LANGUAGES, load_texts


def write(folder, **languages):
    for language, text in languages.items():
        (folder / f"{language}.yaml").write_text(text, encoding="utf-8")


def test_texts_of_a_language_are_read(tmp_path):
    write(tmp_path, en="latency: Latency", zh="latency: 时延")
    assert load_texts(tmp_path, "zh") == {"latency": "时延"}
    assert load_texts(tmp_path, "en") == {"latency": "Latency"}
    assert LANGUAGES == ("en", "zh")


@pytest.mark.parametrize(
    ("zh", "message"),
    [
        ("{}", "differ in latency"),
        ("latency: 时延\nmass: 质量", "differ in mass"),
        ("latency: 3", "latency is 3, expected a text"),
    ],
)
def test_a_text_too_many_or_too_few_is_refused(tmp_path, zh, message):
    write(tmp_path, en="latency: Latency", zh=zh)
    with pytest.raises(ValueError, match=message):
        load_texts(tmp_path, "zh")


def test_an_unknown_language_is_refused(tmp_path):
    with pytest.raises(ValueError, match="language is 'fr', expected one of en, zh"):
        load_texts(tmp_path, "fr")
