"""Findings in; a page, tables, figures and printed lines out."""
