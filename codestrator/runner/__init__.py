"""Runs one child: brings its agent up, hands it its work, reports for it, and ends it."""
