"""All variants of a sweep in one folder: a configuration in; variants, packs, what is missing, and one table out."""
