"""The texts: their sequences, their alphabet, and what can be wrong with a file."""

import urllib.error
import urllib.request

import pytest
import torch

from aelle.data.text import SEQUENCE_LENGTH, UNKNOWN, book, characters, stripped, topics
from aelle.errors import UserError

TEXT = "".join(f"{n:08d}abcdefgh " for n in range(1000))
"""17,000 characters in which every stretch of 101 stands once."""


def sequences(part) -> list[str]:
    return [bytes(torch.cat([x, y[-1:]]).tolist()).hex() for x, y in zip(part.x, part.y, strict=True)]


def check_split(data) -> list[list[str]]:
    parts = [sequences(part) for part in (data.train, data.val, data.test)]
    a, b, c = map(set, parts)
    assert not a & b and not a & c and not b & c
    return parts


def test_the_sequences_are_split_without_overlap():
    train, val, test = check_split(characters(TEXT, "every"))
    assert len(train) + len(val) + len(test) == len(TEXT) // SEQUENCE_LENGTH == 168
    assert len(train) == 134 and (len(val), len(test)) == (17, 17)


def test_together_they_are_the_text():
    data = characters(TEXT, "every")
    parts = (data.train, data.val, data.test)
    found = {data.decode(torch.cat([x, y[-1:]])) for part in parts for x, y in zip(*part, strict=True)}
    assert found == {TEXT[i : i + SEQUENCE_LENGTH] for i in range(0, 168 * SEQUENCE_LENGTH, SEQUENCE_LENGTH)}


def test_the_book_is_split_without_overlap_and_comes_with_its_alphabet(data_folder):
    data = book(str(data_folder))
    assert [len(part.x) for part in (data.train, data.val, data.test)] == [25364, 3170, 3171]
    check_split(data)
    # All of its 82 characters occur in training.
    assert len(data.alphabet) == 83 and data.alphabet.endswith(UNKNOWN)


def test_what_is_to_be_predicted_is_the_next_character():
    every, last = characters(TEXT, "every"), characters(TEXT, "last")
    assert torch.equal(every.val.x[:, 1:], every.val.y[:, :-1]) and torch.equal(every.val.x, last.val.x)
    assert torch.equal(last.val.y, every.val.y[:, -1])
    with pytest.raises(UserError, match="choose every"):
        characters(TEXT, "first")


def test_the_probe_is_one_hot():
    data = characters(TEXT, "every")
    probe = data.probe(5)
    assert probe.shape == (5, 100, len(data.alphabet)) and torch.equal(probe.argmax(-1), data.val.x[:5])
    assert (probe.sum(-1) == 1).all()
    with pytest.raises(UserError, match="1 to 17"):
        data.probe(18)


def test_characters_that_training_does_not_show_are_one_and_are_counted(capsys):
    whole = characters(TEXT, "every")
    rest = whole.decode(torch.cat([whole.test.x[0], whole.test.y[0, -1:]]))
    data = characters(TEXT.replace(rest, "é\U0001f600" + rest[2:]), "every")
    assert data.alphabet == whole.alphabet
    assert (data.test.x[0, :2] == len(whole.alphabet) - 1).all()
    assert data.decode(data.test.x[0, :3]) == 2 * UNKNOWN + rest[2]
    assert "2 of 3434 validation and test characters" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "a", "a" * 500])
def test_a_text_without_enough_sequences_is_one_clear_error(text):
    with pytest.raises(UserError, match="too short"):
        characters(text, "every")


def test_pythons_own_topics_need_no_network(monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", None)
    data = topics()
    assert len(data.train.x) > 2000 and 80 < len(data.alphabet) < 200


GUTENBERG = "\ufeffProject Gutenberg\r\n*** START OF THE EBOOK ***\r\n\r\n{}\r\n\r\n*** END OF THE EBOOK ***\r\nLicence"


def test_header_and_licence_are_stripped(tmp_path):
    assert stripped(GUTENBERG.replace("\r\n", "\n").format("It was\nin July")) == "It was\nin July"
    file = tmp_path / "text.txt"
    file.write_text(GUTENBERG.format(TEXT), encoding="utf-8")
    assert len(book(str(tmp_path / "nowhere"), str(file)).train.x) == 134
    assert not (tmp_path / "nowhere").exists()


class Response:
    def __init__(self, content: bytes):
        self.content = content

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self) -> bytes:
        return self.content


def test_the_book_is_downloaded_once(tmp_path, monkeypatch):
    calls = []

    def urlopen(url, timeout):
        calls.append(url)
        return Response(GUTENBERG.format(200 * TEXT).encode())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    first = book(str(tmp_path / "new"))
    book.cache_clear()
    assert torch.equal(book(str(tmp_path / "new")).train.x, first.train.x)
    assert len(calls) == 1 and "gutenberg.org" in calls[0]
    assert (tmp_path / "new" / "war_and_peace.txt").read_text() == 200 * TEXT.strip("\n")


def test_neither_file_nor_network_is_one_clear_error(tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(UserError, match="experiment=charrnn_small") as refused:
        book(str(tmp_path))
    assert "\n" not in str(refused.value) and not (tmp_path / "war_and_peace.txt").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "contains 0 characters"), (TEXT.encode(), "delete the file"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_a_damaged_book_is_one_clear_error(tmp_path, content, says):
    (tmp_path / "war_and_peace.txt").write_bytes(content)
    with pytest.raises(UserError, match=says) as refused:
        book(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_download_that_broke_off_is_not_kept(tmp_path, monkeypatch):
    broken = GUTENBERG.format(200 * TEXT).encode()[:-5000]
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(broken))
    with pytest.raises(UserError, match="experiment=charrnn_small"):
        book(str(tmp_path))
    assert not (tmp_path / "war_and_peace.txt").exists()


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nosuch\.txt cannot be read .* task\.data\.path"):
        book(str(tmp_path), str(tmp_path / "nosuch.txt"))
