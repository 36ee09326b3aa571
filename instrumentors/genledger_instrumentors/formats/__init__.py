"""How payloads read: one module for each format that clients share."""
