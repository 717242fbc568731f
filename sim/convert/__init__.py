"""Turning other people's recordings (pickles, folders, bags, HDF5, videos) into ours."""
