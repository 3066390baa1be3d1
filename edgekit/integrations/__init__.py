"""Callbacks that convert a model where its training ends; a module for each framework."""
