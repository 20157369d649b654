"""Builds servables that are not models: tables of embeddings, vocabularies and transformations of features."""
