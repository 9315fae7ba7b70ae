"""Adapters to the outside world. Models: `perdure.providers.models.ProviderModels` behind `engine.ports.Models`."""
