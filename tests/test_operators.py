"""Every operator has one kind, whatever it is called."""

from collections import Counter
from pathlib import Path

import pytest

from qdnet_keras.data.operators import ESPL_OPERATORS, KINDS, OPERATORS, operator_kind

NAMES = Path(__file__).parent / "data" / "espl_names.tsv"
OPEN_TM = """DurandTMO DurandTMO4t FattalTMO GA LA_Sig_11 Mertens Paul PeceKautz RamanTMO
ReinhardTMO WardHistAdj
auto_exposure bad_cast bad_dark_gamma bad_halo bad_lowcontrast bad_over bad_oversat
bad_under bad_washed drago_cv fattal_strong grunge2 mantiuk_cv painterly pfs_drago pfs_mantiuk06
pfs_mantiuk08 pfs_reinhard02 reinhard_cv surreal wb_gamma"""


def test_a_name_stands_for_one_operator():
    names = Counter(name for made in OPERATORS for name in (made.name, *made.aliases))
    assert names.most_common(1)[0][1] == 1
    assert {made.kind for made in OPERATORS} == set(KINDS)


def test_every_operator_of_the_published_database_has_the_published_kind():
    _, *rows = NAMES.read_text().splitlines()
    published = {"1": "tmo", "2": "fusion", "3": "effect"}
    for row in rows:
        name, *_, kind = row.split("\t")
        stem = name.split(".PNG")[0]
        ends = {operator for operator in ESPL_OPERATORS if stem.endswith(f"_{operator}")}
        assert {operator_kind(operator) for operator in ends} == {published[kind]}, name


def test_every_operator_of_the_project_has_a_kind():
    from qdnet_keras.synthesis.tone_mapping import FAULTS
    from qdnet_keras.synthesis.tone_mapping import OPERATORS as RENDERERS

    known = {made.name for made in OPERATORS}
    assert {*RENDERERS, *FAULTS} <= known
    assert {operator_kind(name) for name in FAULTS} == {"fault"}
    assert "fault" not in {operator_kind(name) for name in RENDERERS}


def test_every_operator_of_open_tm_has_a_kind():
    assert [name for name in OPEN_TM.split() if operator_kind(name) is None] == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("WardHistAdj", "tmo"),
        ("WardHistAdjTMO", "tmo"),
        ("drago_cv", "tmo"),
        ("pfs_mantiuk08", "tmo"),
        ("Mertens", "fusion"),
        ("painterly", "effect"),
        ("bad_halo", "fault"),
        ("something_else", None),
    ],
)
def test_kinds(name, kind):
    assert operator_kind(name) == kind
