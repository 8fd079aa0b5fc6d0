"""The pages agree with the code: links, flags, commands, modules, changes."""

import dataclasses
import importlib.util
import re
import shlex
import sys
from functools import cache

import pytest
from conftest import ROOT, run

from imagenet_trainer import __version__, config
from imagenet_trainer.config import flags
from imagenet_trainer.config.comparing import CompareSettings
from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.config.optimisation import MethodSettings, ScheduleSettings
from imagenet_trainer.doctor import DoctorSettings
from imagenet_trainer.explore.flags import SheetSettings
from imagenet_trainer.packing.im2rec_flags import Im2recSettings

DOCS = ROOT / "docs"
OTHERS = (DoctorSettings, Im2recSettings, LaunchSettings, SheetSettings)
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *DOCS.glob("*.md")]
}
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


@cache
def words_of(page):
    """A page without its blocks of code."""
    return FENCE.sub("", PAGES[page].read_text(encoding="utf-8"))


# --- links -------------------------------------------------------------------------------------


@cache
def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ +(.+?) *$", words_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        unique = name
        while unique in found:
            unique, number = f"{name}-{number}", number + 1
        found.add(unique)
    return found


def links(page):
    """(path, anchor) of every link and image that does not leave the project."""
    for target in re.findall(r"\]\(<?([^)\s>]+)>?\)", words_of(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_have_targets(page):
    for path, anchor in links(page):
        file = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        assert file.exists(), f"{page}: {path}"
        if anchor:
            other = file.relative_to(ROOT).as_posix()
            assert other in PAGES and anchor in anchors(other), f"{page}: {path}#{anchor}"


def test_every_page_can_be_reached_from_the_readme():
    reached, to_see = set(), ["README.md"]
    while to_see:
        page = to_see.pop()
        reached.add(page)
        there = (PAGES[page].parent / path for path, _ in links(page) if path.endswith(".md"))
        names = {file.resolve().relative_to(ROOT).as_posix() for file in there}
        to_see += (names & PAGES.keys()) - reached
    assert sorted(PAGES.keys() - reached) == []


def test_each_message_is_on_one_page_of_troubleshooting():
    """The first page is an index; its tables are of symptoms."""
    assert "| message |" not in words_of("docs/troubleshooting.md")
    messages = [
        line.split(" | ")[0]
        for page in PAGES
        if page.startswith("docs/troubleshooting-")
        for line in words_of(page).splitlines()
        if line.startswith("| ") and not line.startswith("| message |")
    ]
    assert len(messages) > 300
    assert sorted({one for one in messages if messages.count(one) > 1}) == []


# --- flags -------------------------------------------------------------------------------------


@cache
def rows_of_flags():
    """Of docs/fit.md and the pages it links: (default, resume, meaning) by flag, from tables."""
    pages = ["docs/fit.md", *(f"docs/{p}" for p, _ in links("docs/fit.md") if p.endswith(".md"))]
    found = {}
    for page in dict.fromkeys(pages):
        for head, body in re.findall(
            r"^(\| flag \| default \| resume \|.*)\n\|[-|]+\n((?:\|.*\n)+)",
            words_of(page),
            re.MULTILINE,
        ):
            assert head == "| flag | default | resume | meaning |", page
            for line in body.splitlines():
                flag, *cells = (cell.strip() for cell in line.strip("|").split("|", 3))
                assert flag.strip("`") not in found, f"{page}: {flag} is in two tables"
                found[flag.strip("`")] = cells
    return found


def default_in_words(field):
    """What the tables call a field's default; nothing for none, and for a flag without value."""
    value = field.default
    if isinstance(value, bool):
        return str(int(value)) if field.metadata["parse"] else ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" for one in value)
    return "" if value is None else str(value)


def test_the_tables_of_fit_hold_every_flag_and_no_other():
    known = {flags.flag_of(field.name) for field in dataclasses.fields(config.FitSettings)}
    assert sorted(rows_of_flags()) == sorted(known)


@pytest.mark.parametrize(
    "field", dataclasses.fields(config.FitSettings), ids=lambda field: field.name
)
def test_defaults_of_fit_equal_those_in_its_tables(field):
    default, resume, meaning = rows_of_flags()[flags.flag_of(field.name)]
    assert default == default_in_words(field)
    assert resume == ("yes" if field.metadata["may_change"] else "no")
    assert meaning
    for choice in filter(None, map(str, field.metadata["choices"])):
        assert choice in meaning, f"{choice} is not documented"


GUIDES = {
    config.AugmentSettings: ("augmentation",),
    ScheduleSettings: ("schedules",),
    MethodSettings: ("methods",),
}


@pytest.mark.parametrize("settings", GUIDES, ids=lambda one: one.__name__)
def test_every_flag_of_training_is_in_its_guide(settings):
    text = "".join((DOCS / f"{page}.md").read_text(encoding="utf-8") for page in GUIDES[settings])
    for field in dataclasses.fields(settings):
        if flags.flag_of(field.name) in ("--config", "--set"):  # where flags come from
            continue
        assert re.search(rf"{flags.flag_of(field.name)}(?![\w-])", text), field.name


# --- commands ----------------------------------------------------------------------------------

SETTINGS = {
    "imagenet_trainer.fit": config.FitSettings,
    "imagenet_trainer.compare": CompareSettings,
    "imagenet_trainer.evaluate": config.EvaluateSettings,
    "imagenet_trainer.predict": config.PredictSettings,
    "imagenet_trainer.export": config.ExportSettings,
    "imagenet_trainer.published": config.PublishedSettings,
}


def commands(page):
    """(module, words) of every `python -m` of a page whose flags are known here.

    Without those that the page shows to be refused for a flag.
    """
    text = PAGES[page].read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(FENCE.findall(text)) + "\n"
    blocks = re.sub(r".*\n(?=.*: error: --[\w-]+: no such flag)", "", blocks)
    for line in blocks.splitlines() + re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        module, found, words = line.partition("python -m ")[2].partition(" ")
        if found and module in SETTINGS:
            yield module, re.split(r" (?:\||&&|>|2>|;) ?", words.split(" #")[0])[0]


@cache
def fields_of(settings):
    return [field.name for field in dataclasses.fields(settings)]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_commands_of_the_pages_have_flags_that_exist(page):
    for module, words in commands(page):
        known = {"--help", "--version", *map(flags.flag_of, fields_of(SETTINGS[module]))}
        given = {word.split("=")[0] for word in shlex.split(words) if word.startswith("--")}
        assert given <= known, f"{page}: python -m {module} {words}"


def test_the_readme_names_only_flags_that_exist():
    known = {
        flags.flag_of(field.name)
        for settings in (*SETTINGS.values(), *OTHERS)
        for field in dataclasses.fields(settings)
    }
    named = set(re.findall(r"`[^`]*`", words_of("README.md")))
    given = {flag for text in named for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)}
    assert sorted(given - known - {"--help", "--logdir"}) == []


# --- modules and changes -----------------------------------------------------------------------


def test_the_architecture_names_every_room_and_only_existing_files():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| room | subject |") :].split("\n\n")[0]
    named = set(
        re.findall(r"\w+(?=/|\.py| |`)", " ".join(re.findall(r"^\| (`[^`]+`)", table, re.M)))
    )
    package = ROOT / "imagenet_trainer"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms | {path.stem for path in package.glob("[a-z]*.py")} <= named
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert (package / path).exists() or (ROOT / path).exists(), path


def test_changes_are_listed_by_version_newest_first():
    text = (DOCS / "changelog.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[1].startswith(f"{__version__}, ")
    assert f"version = {{{__version__}}}" in (DOCS / "cite.md").read_text(encoding="utf-8")
    assert heads[0] == "Next" and all(
        re.fullmatch(r"\d+\.\d+\.\d+, \d{4}-\d\d-\d\d", h) for h in heads[1:]
    )
    dates = [head.partition(", ")[2] for head in heads[1:]]
    assert dates == sorted(dates, reverse=True)
    sections = re.split(r"^## .*\n", text, flags=re.MULTILINE)[1:]
    for section in sections:
        points = re.findall(r"^- .*(?:\n  .*)*", section, re.MULTILINE)
        rest = section
        for point in points:
            assert point.endswith("."), point
            rest = rest.replace(point, "", 1)
        # A released version may have headings and sentences; the next one is points only.
        assert len(rest.split()) == 0 or section is not sections[0], rest
        assert len(points) == len(set(points)) and (points or section is sections[0])


# --- the site ----------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"[\w-]+\.md", (DOCS / "mkdocs.yml").read_text()))
    assert named == {path.name for path in DOCS.glob("*.md")}


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    words = ("build", "--strict", "-f", DOCS / "mkdocs.yml", "-d", tmp_path / "site")
    run("-m", "mkdocs", *words, cwd=tmp_path)
    text = (tmp_path / "site" / "reference.html").read_text()
    assert not re.search('<script src="(https?:)?//', text)  # a page from disk needs no network
    assert "state_dict" in text and "MXIndexedRecordIO" in text


def test_the_readme_has_absolute_links_in_a_package_index(monkeypatch):
    pytest.importorskip("setuptools")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("setup_of_the_project", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    readme = PAGES["README.md"].read_text(encoding="utf-8")
    made = setup.long_description(readme, "https://example.org/them/it", "1.2.3")
    assert "](https://example.org/them/it/raw/v1.2.3/docs/pictures/" in made
    assert "](https://example.org/them/it/blob/v1.2.3/docs/fit.md)" in made
    assert made.count("/raw/v1.2.3/") == readme.count("![")
    targets = re.findall(r"\]\(([^)\s]+)\)", made)
    assert targets and all(re.match(r"https?:|#", target) for target in targets)
    # Without an address of the repository nothing is invented.
    assert setup.long_description(readme, "", "1.2.3") == readme
