"""Trains, exports and evaluates the compact weights that the package ships."""
