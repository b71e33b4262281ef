from dinocli.quality.group_names import group_names


def test_a_name_is_as_short_as_it_is_unambiguous() -> None:
    assert group_names(["./a/cat.jpg", "./b/c/dog.v2.png", "e.png"]) == ["cat.jpg", "dog.v2.png", "e.png"]
    assert group_names(["./a/c/0", "./b/c/0", "./b/d/0", "./1"]) == ["a/c/0", "b/c/0", "d/0", "1"]
    assert group_names(["./a/0.jpg", "./a/0.png", "./0.jpg"]) == ["a/0.jpg", "0.png", "0.jpg"]
    assert group_names(["./a.png", "./a.png"]) == ["a.png", "a.png"]
    assert group_names([]) == []
