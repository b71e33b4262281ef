from xml.etree import ElementTree

from dinocli.report.crosstab import crosstab


def test_cells_count_and_shades_grow_with_the_share_of_the_group() -> None:
    pairs = [(0, "b")] * 6 + [(1, "a")] * 5 + [(1, "b")] + [(-1, "a")] + [(1, "")] * 9
    section = ElementTree.fromstring(crosstab(pairs, ["first", "<second>", "third"]))
    rows = [[cell.text for cell in row] for row in section.iter("tr")]
    assert rows == [
        ["Group", "a", "b", "Labelled"],
        ["first", "0", "6", "6"],
        ["<second>", "5", "1", "6"],
        ["third", "0", "0", "0"],
        ["No group", "1", "0", "1"],
    ]
    shades = [[cell.get("class", "")[-5:] for cell in row][1:3] for row in section.iter("tr")][1:]
    assert shades == [["heat0", "heat6"], ["heat5", "heat1"], ["heat0", "heat0"], ["heat6", "heat0"]]
    assert "9 of 22 images have no label and are not counted" in " ".join(section.itertext())
    assert "no label" not in crosstab(pairs[:-9], ["first", "second"])


def test_without_labels_there_is_no_table() -> None:
    assert crosstab([(0, ""), (1, "")], ["first", "second"]) == ""
