"""K-means finds groups that are there, the same ones every time, and survives points that are all alike."""

from __future__ import annotations

import numpy as np
import pytest

from core.evaluation.clusters import distances, k_means

STREAM = np.random.default_rng(0)


def test_groups_that_are_far_apart_are_found():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = np.concatenate([centre + STREAM.normal(size=(20, 2)) for centre in centres])
    found = k_means(points, 3)
    assert sorted(found.sizes) == [20, 20, 20]
    for start in (0, 20, 40):
        assert len(set(found.labels[start : start + 20].tolist())) == 1
    assert distances(centres, found.centres).min(axis=1).max() < 1


def test_every_point_belongs_to_its_nearest_centre_and_centres_are_means():
    points = STREAM.normal(size=(60, 5))
    found = k_means(points, 8)
    assert (distances(points, found.centres).argmin(axis=1) == found.labels).all()
    for cluster, centre in enumerate(found.centres):
        assert np.allclose(points[found.labels == cluster].mean(axis=0), centre)
    assert min(found.sizes) > 0


def test_the_same_seed_gives_the_same_groups():
    points = STREAM.normal(size=(60, 5))
    assert (k_means(points, 4, seed=3).labels == k_means(points, 4, seed=3).labels).all()


@pytest.mark.parametrize("points", [np.ones((5, 3)), np.array([[1.0], [1.0], [2.0]])])
def test_fewer_different_points_make_fewer_groups(points):
    found = k_means(points, 8)
    assert len(found.centres) == len(np.unique(points, axis=0))
    assert found.inertia == pytest.approx(0)
