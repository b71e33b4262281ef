import numpy as np

from dinocli.segmentation.method import PatchMaps, label_map


def test_the_highest_map_above_the_threshold_names_a_pixel() -> None:
    soft_Khw = np.array([[[0.9, 0.2, 0.5]], [[0.1, 0.4, 0.8]]], np.float32)
    assert label_map(soft_Khw, 0.45).tolist() == [[1, 0, 2]]
    assert label_map(soft_Khw, -1).tolist() == [[1, 2, 2]]


def test_an_empty_result_is_an_empty_label_map() -> None:
    soft_Khw = np.ones((1, 2, 2), np.float32)
    assert PatchMaps(soft_Khw, 0.5, score=1.0).labels().all()
    assert not PatchMaps(soft_Khw, 0.5, score=0.0, empty_reason="all patches look alike").labels().any()


def test_likeness_is_the_highest_map_unless_segments_have_their_own() -> None:
    soft_Khw = np.array([[[0.9, 0.2]], [[0.1, 0.4]]], np.float32)
    assert np.allclose(PatchMaps(soft_Khw, 0.5, score=1.0).saliency(), [[0.9, 0.4]])
    own = np.array([[0.3, 0.7]], np.float32)
    assert PatchMaps(soft_Khw, -1, score=1.0, saliency_hw=own).saliency() is own
