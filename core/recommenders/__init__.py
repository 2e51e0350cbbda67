"""The methods of the benchmark, all behind `base.Recommender`."""
