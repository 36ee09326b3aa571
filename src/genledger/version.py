"""The version of this distribution."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("genledger")
except PackageNotFoundError:
    __version__ = "0+source"
