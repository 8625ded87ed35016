"""Dashboards next to the run folder: a tracker mirrors the contents of a pack's files; nothing depends on it."""

from aelle.tracking.mirror import Tracking, show_analysis
from aelle.tracking.tracker import Analysis, Pack, Tracker, analysis_tracker_of, tracker_of

__all__ = ["Analysis", "Pack", "Tracker", "Tracking", "analysis_tracker_of", "show_analysis", "tracker_of"]
