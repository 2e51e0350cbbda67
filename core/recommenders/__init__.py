"""One file per method, all behind `base.Recommender`; the registry imports a method only when it is used."""
