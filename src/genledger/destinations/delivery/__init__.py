"""Sending, retrying and keeping what could not be sent."""
