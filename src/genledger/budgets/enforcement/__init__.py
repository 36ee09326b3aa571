"""Asking before a call is made, and settling after it."""
