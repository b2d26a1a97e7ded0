"""General statistics, independent of models and studies."""
