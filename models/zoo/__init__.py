"""The committed int8 networks and their manifest: data, found as a package resource."""
