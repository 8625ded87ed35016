"""Dashboards beside the run folder: a tracker mirrors what a pack's files hold, and nothing depends on it."""

from aelle.tracking.tracker import Analysis, Tracker, analysis_tracker_of, tracker_of
from aelle.tracking.tracking import Tracking, show_analysis

__all__ = ["Analysis", "Tracker", "Tracking", "analysis_tracker_of", "show_analysis", "tracker_of"]
