"""The glossary: every entry is whole and in its place, and the lessons' links lead to the right ones."""

import dataclasses
import functools
import itertools
import pathlib
import re
from collections.abc import Iterator

import notebook_tools
import pytest

NOTEBOOKS = notebook_tools.ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.py"))
INDEX = "## 中文索引"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENTRY = re.compile(
    r'<a id="(?P<anchor>[a-z0-9-]+)"></a>\*\*(?P<name>[^*]+)\*\*(?: \((?P<forms>.+?)\))? · '
    r"(?P<chinese>[^·\n]+) · (?P<lessons>[^·\n]+)\\\n"
    r"(?P<english>.+)\\\n(?P<definition>.+?)(?:\\\n(?P<formula>\$[^$]+\$))?"
)
LINK = re.compile(r"\[([^\]]+)\]\([^)\s]*glossary\.md#([^)\s]+)\)")
# Bold in a lesson's objectives or summary, and no term: words that are stressed, and ordinary verbs.
NOT_TERMS = {
    *("by hand", "one rule", "noisy", "where you start", "small steps", "nearest to its start", "no error"),
    *("choose", "choose by a probe", "few labels", "how many labels?", "how similar?", "held fixed", "hours"),
    *("name", "folder", "arrays", "pretrained on", "loading", "measure", "prepare", "evaluate", "prices"),
    *("today's keras", "count", "prove", "cut", "predict", "bits", "hurts", "close", "which images", "and"),
    *("adam steps as far all the same", "once", "truly differ", "predictions", "look", "into", "program"),
    *("while requests run", "cheaper", "strangers' models", "one table"),
}
# GB 2312 orders its 3,755 common characters by pinyin: these two are rare, or read otherwise in our terms.
READ_AS = str.maketrans({"阈": "域", "校": "叫"})


@dataclasses.dataclass(frozen=True)
class Entry:
    """A term, as the glossary has it."""

    anchor: str
    name: str
    forms: list[str]
    chinese: str
    lessons: list[str]
    english: str
    definition: str

    @property
    def words(self) -> list[str]:
        return [plain(word) for word in (self.name, *self.forms)]


@functools.cache
def plain(text: str) -> str:
    """Lower case, without stress, and with one space for whatever joins words."""
    return re.sub(r"[\s_-]+", " ", re.sub(r"[*`]", "", text.lower())).strip()


@functools.cache
def occurs(word: str, text: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?:s|es)?(?!\w)", text))


def entries(glossary: str) -> tuple[list[Entry], list[str]]:
    """The entries, and the paragraphs that should be entries and are none."""
    body = glossary.split(INDEX)[0].split("\n## A\n")[1]
    found, broken = [], []
    for paragraph in body.strip().split("\n\n"):
        if match := ENTRY.fullmatch(paragraph):
            fields = match.groupdict()
            fields.pop("formula")
            forms = (fields.pop("forms") or "").split(", ")
            lessons = re.findall(r"\[(\w+)\]\((\S+?)\.ipynb\)", fields.pop("lessons"))
            files = [
                file if file.startswith(f"{number}_") else f"{number}, {file}" for number, file in lessons
            ]
            found.append(Entry(forms=[form for form in forms if form], lessons=files, **fields))
        elif not re.fullmatch(r"## [A-Z]", paragraph):
            broken.append(paragraph)
    return found, broken


def bold_terms(lesson: str) -> Iterator[str]:
    """What a lesson's learning objectives and summary set in bold, one by one."""
    for section in ("Learning objectives", "Summary"):
        text = re.split(r"\f|\n##+ |\*\*Terms of", lesson.split(f"## {section}\n")[1])[0]
        for stressed in re.findall(r"\*\*(.+?)\*\*", text):
            for word in re.split(r", | and ", stressed):
                yield re.sub(r"^the ", "", word.lower())


def problems(glossary: str, lessons: dict[str, str]) -> Iterator[str]:
    """All that is wrong, where `lessons` holds the text of each lesson by its file's name."""
    known, broken = entries(glossary)
    yield from (f"this is no entry: {paragraph[:60]}" for paragraph in broken)
    anchors = [entry.anchor for entry in known]
    yield from (f"two entries have the anchor {one}" for one in set(anchors) if anchors.count(one) > 1)
    keys = [re.sub(r"[^a-z0-9]", "", entry.name.lower()) for entry in known]
    yield from (f"{two} should stand before {one}" for one, two in itertools.pairwise(keys) if one >= two)
    own_words = {
        name: plain(re.sub(r"\*\*Terms of this lesson\*\*.*", "", text)) for name, text in lessons.items()
    }
    for entry in known:
        if CHINESE.search(entry.english) or not CHINESE.search(entry.chinese):
            yield f"{entry.name} has its languages mixed up"
        if not CHINESE.search(entry.definition) or "$" in entry.definition:
            yield f"{entry.name} has no definition in Chinese, or a formula in it, which GitHub does not show"
        if not entry.lessons:
            yield f"{entry.name} names no lesson"
        for lesson in entry.lessons:
            if not any(occurs(word, own_words.get(lesson, "")) for word in entry.words):
                yield f"{entry.name} does not occur in {lesson}"
    yield from index_problems(glossary, known)
    for name, text in lessons.items():
        yield from lesson_problems(name, text, known)


def index_problems(glossary: str, known: list[Entry]) -> Iterator[str]:
    """The Chinese index lists every entry once, by its Chinese name, ordered by pinyin."""
    lines = re.findall(r"(?m)^\*\*([A-Z])\*\* (.+)", glossary.split(INDEX)[1])
    listed = [link for _, line in lines for link in re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", line)]
    wanted = [(entry.chinese, entry.anchor) for entry in known]
    for chinese, anchor in {*listed, *wanted}:
        if listed.count((chinese, anchor)) != wanted.count((chinese, anchor)):
            yield f"the index does not list {anchor} once as {chinese}"
    if (letters := [letter for letter, _ in lines]) != sorted(set(letters)):
        yield "the index's letters are out of order"
    for _, line in lines:
        keys = [
            name.translate(READ_AS).lower().encode("gb18030") for name in re.findall(r"\[([^\]]+)\]", line)
        ]
        if keys != sorted(keys):
            yield f"the index is not ordered by pinyin: {line[:30]}"


def lesson_problems(name: str, text: str, known: list[Entry]) -> Iterator[str]:
    """Its list of terms leads to entries that name this lesson, and what it stresses is in the glossary."""
    by_anchor = {entry.anchor: entry for entry in known}
    links = LINK.findall(text)
    if not 5 <= len(links) <= 14:
        yield f"{name} links {len(links)} terms, not 5 to 14"
    for words, anchor in links:
        entry = by_anchor.get(anchor)
        if entry is None or entry.name != words:
            yield f"{name} links {words} to {anchor}, which is another entry, or none"
        elif name not in entry.lessons:
            yield f"{name} lists {words}, whose entry does not name this lesson"
    everything = [word for entry in known for word in entry.words]
    for stressed in bold_terms(text):
        if stressed not in NOT_TERMS and not any(
            re.fullmatch(rf"{re.escape(w)}(s|es)?", plain(stressed)) for w in everything
        ):
            yield f"{name} stresses {stressed}, which is not in the glossary"


def texts(paths: list[pathlib.Path] = LESSONS) -> dict[str, str]:
    return {
        path.stem: "\n\f\n".join(cell.source for cell in notebook_tools.read(path).cells) for path in paths
    }


@pytest.fixture(scope="module")
def lessons() -> dict[str, str]:
    return texts()


@pytest.fixture(scope="module")
def glossary() -> str:
    return (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")


def test_the_glossary_is_whole(glossary: str, lessons: dict[str, str]) -> None:
    assert lessons and len(entries(glossary)[0]) > 150
    assert not list(problems(glossary, lessons))


def test_one_can_jump_to_each_letter(glossary: str) -> None:
    jumps = re.findall(r"\[([A-Z])\]\(#([a-z])\)", glossary.split("\n## A\n")[0])
    assert jumps == [(letter, letter.lower()) for letter in re.findall(r"(?m)^## ([A-Z])$", glossary)]


def test_the_exceptions_are_needed(lessons: dict[str, str]) -> None:
    assert {word for text in lessons.values() for word in bold_terms(text)} >= NOT_TERMS


BROKEN = [  # replaced in the glossary, by what, and what the complaint says
    ('<a id="adam"></a>', "", "this is no entry: **Adam**"),
    ('id="adamw"', 'id="adam"', "two entries have the anchor adam"),
    ("**AdamW** ·", "**Zadam** ·", "agreement should stand before zadam"),
    ("· 一致率 ·", "· consent ·", "agreement has its languages mixed up"),
    ("在十个类别中盲猜", "在 $k$ 个类别中盲猜", "cross-entropy has no definition in Chinese, or a formula"),
    ("[08](08_compress.ipynb)", "[08](09_compress.ipynb)", "agreement does not occur in 08, 09_compress"),
    ("一致率 · [08](08_compress.ipynb)", "一致率 · 08", "agreement names no lesson"),
    ("**zero point**", "**zero pint**", "zero pint does not occur in 08_compress"),
    ("[一致率](#agreement)", "", "the index does not list agreement once as 一致率"),
    (
        "[一致率](#agreement)",
        "[一致率](#agreement) · [一致率](#agreement)",
        "the index does not list agreement once",
    ),
    (
        "[二次函数](#quadratic)",
        "[准确率](#accuracy) · [二次函数](#quadratic)",
        "the index is not ordered by pinyin",
    ),
    ("\n**W** [", "\n**Y** [", "the index's letters are out of order"),
    ("**Adam** ·", "**Adama** ·", "02a_gradient_descent stresses adam"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), BROKEN, ids=[row[2][:40] for row in BROKEN])
def test_a_broken_glossary_is_found(
    old: str, new: str, complaint: str, glossary: str, lessons: dict[str, str]
) -> None:
    assert old in glossary
    found = list(problems(glossary.replace(old, new), lessons))
    assert any(complaint in one for one in found), found


def test_a_definition_in_one_language_is_found(glossary: str, lessons: dict[str, str]) -> None:
    entry = entries(glossary)[0][0]
    found = list(problems(glossary.replace(entry.definition, entry.english), lessons))
    assert found and "accuracy has no definition in Chinese" in found[0]
    found = list(problems(glossary.replace(entry.english, entry.definition), lessons))
    assert found == ["accuracy has its languages mixed up"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("#range-test)", "#range-tests)", "05_fine_tune links range test to range-tests, which is another"),
        ("#range-test)", "#recall)", "05_fine_tune links range test to recall, which is another entry"),
        ("glossary.md#", "glossary.html#", "05_fine_tune links 0 terms, not 5 to 14"),
        ("[range test](", "[mask](", "05_fine_tune links mask to range-test"),
        ("- **Depth**", "- **Profundity**", "05_fine_tune stresses profundity"),
    ],
)
def test_a_broken_lesson_is_found(
    old: str, new: str, complaint: str, glossary: str, lessons: dict[str, str]
) -> None:
    text = lessons["05_fine_tune"]
    assert old in text
    found = list(problems(glossary, lessons | {"05_fine_tune": text.replace(old, new)}))
    assert any(complaint in one for one in found), found


def test_a_term_of_another_lesson_is_found(glossary: str, lessons: dict[str, str]) -> None:
    text = re.sub(r"\[range test\]\(([^)#]*)#range-test\)", r"[mask](\1#mask)", lessons["05_fine_tune"])
    found = list(problems(glossary, lessons | {"05_fine_tune": text}))
    assert found == ["05_fine_tune lists mask, whose entry does not name this lesson"]
