"""The figures of a study: which numbers each draws, and what must have been measured so that it can be drawn.

Pure: from a table of results to values (:mod:`trilemma.report.figure`); what they look like is decided elsewhere.
"""
